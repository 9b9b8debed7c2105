/* A list of extended attributes, packed in one piece of memory: names with their prefix, as getxattr(2) has them. */
#ifndef VMCTL_WIRE_XATTRS_H
#define VMCTL_WIRE_XATTRS_H

#include <stddef.h>
#include <stdint.h>

enum {
    VMCTL_XATTRS_MOST = 1024 * 1024, /* bytes of one list */
    VMCTL_XATTRS_COUNT = 512,        /* of one list, which is searched for each that is added */
    VMCTL_XATTR_NAME = 255,          /* Linux' limits */
    VMCTL_XATTR_VALUE = 65535        /* EROFS has 16 bits for it, Linux one byte more */
};

struct vmctl_xattrs {
    uint8_t *bytes;
    size_t len, cap;
};

struct vmctl_xattr {
    const char *name;
    const uint8_t *value;
    size_t name_len, value_len;
};

/* Adds one, and replaces one of that name. 0, -EINVAL: an invalid name, VMCTL_ETOOBIG, -ENOMEM. */
int vmctl_xattrs_set(struct vmctl_xattrs *x, const char *name, size_t name_len, const void *value, size_t value_len);

/* The next one from `*at`, which begins at 0. 0: there is none. */
int vmctl_xattrs_next(const struct vmctl_xattrs *x, size_t *at, struct vmctl_xattr *out);

/* `to` is empty before. 0 or -ENOMEM. */
int vmctl_xattrs_copy(struct vmctl_xattrs *to, const struct vmctl_xattrs *from);

void vmctl_xattrs_free(struct vmctl_xattrs *x);

#endif
