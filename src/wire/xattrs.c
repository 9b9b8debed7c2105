/* Lists of extended attributes: two bytes for the name's length, two for the value's, the name, the value, and the next. */
#include "wire/xattrs.h"

#include "wire/bytes.h"
#include "wire/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { XATTRS_HEAD = 4 };

int vmctl_xattrs_next(const struct vmctl_xattrs *x, size_t *at, struct vmctl_xattr *out)
{
    if (*at >= x->len)
        return 0;
    const uint8_t *p = x->bytes + *at;
    out->name_len = vmctl_get_be16(p);
    out->value_len = vmctl_get_be16(p + 2);
    out->name = (const char *)p + XATTRS_HEAD;
    out->value = p + XATTRS_HEAD + out->name_len;
    *at += XATTRS_HEAD + out->name_len + out->value_len;
    return 1;
}

/* Removes the attribute of that name. Returns the number of the others. */
static size_t xattrs_drop(struct vmctl_xattrs *x, const char *name, size_t name_len)
{
    struct vmctl_xattr a;
    size_t at = 0, from, count = 0;
    while ((from = at, vmctl_xattrs_next(x, &at, &a))) {
        if (a.name_len == name_len && memcmp(a.name, name, name_len) == 0) {
            memmove(x->bytes + from, x->bytes + at, x->len - at);
            x->len -= at - from;
            at = from;
        } else {
            count++;
        }
    }
    return count;
}

static int xattrs_room(struct vmctl_xattrs *x, size_t extra)
{
    if (extra > VMCTL_XATTRS_MOST - x->len)
        return VMCTL_ETOOBIG;
    if (x->cap - x->len >= extra)
        return 0;
    size_t cap = x->cap < 256 ? 256 : x->cap * 2;
    while (cap < x->len + extra)
        cap *= 2;
    uint8_t *bytes = realloc(x->bytes, cap);
    if (!bytes)
        return -ENOMEM;
    x->bytes = bytes;
    x->cap = cap;
    return 0;
}

int vmctl_xattrs_set(struct vmctl_xattrs *x, const char *name, size_t name_len, const void *value, size_t value_len)
{
    if (name_len == 0 || memchr(name, 0, name_len))
        return -EINVAL;
    if (name_len > VMCTL_XATTR_NAME || value_len > VMCTL_XATTR_VALUE)
        return VMCTL_ETOOBIG;
    if (xattrs_drop(x, name, name_len) >= VMCTL_XATTRS_COUNT)
        return VMCTL_ETOOBIG;
    int err = xattrs_room(x, XATTRS_HEAD + name_len + value_len);
    if (err)
        return err;
    uint8_t *p = x->bytes + x->len;
    vmctl_put_be16(p, (uint16_t)name_len);
    vmctl_put_be16(p + 2, (uint16_t)value_len);
    memcpy(p + XATTRS_HEAD, name, name_len);
    if (value_len)
        memcpy(p + XATTRS_HEAD + name_len, value, value_len);
    x->len += XATTRS_HEAD + name_len + value_len;
    return 0;
}

int vmctl_xattrs_copy(struct vmctl_xattrs *to, const struct vmctl_xattrs *from)
{
    *to = (struct vmctl_xattrs){ 0 };
    if (!from || from->len == 0)
        return 0;
    to->bytes = malloc(from->len);
    if (!to->bytes)
        return -ENOMEM;
    memcpy(to->bytes, from->bytes, from->len);
    to->len = to->cap = from->len;
    return 0;
}

void vmctl_xattrs_free(struct vmctl_xattrs *x)
{
    free(x->bytes);
    *x = (struct vmctl_xattrs){ 0 };
}
