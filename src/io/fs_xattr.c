/* Extended attributes of files below a root. An fd that only names a file has no calls for them, but a path in /proc, which leads to the
 * file itself and no further, also where that is a link. */
#include "io/fs_xattr.h"

#include "wire/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { TRIES = 4 }; /* somebody may change them meanwhile */

static int xattr_name(const struct vmctl_root *root, const char *path, char via[32], int *fd)
{
    int err = vmctl_root_openat(root, path, O_PATH | O_NOFOLLOW, 0, fd);
    if (!err)
        snprintf(via, 32, "/proc/self/fd/%d", *fd);
    return err;
}

/* ENOENT becomes ENOSYS: a file with an open fd exists, so it is /proc that is missing, and no caller must take the file for gone. */
static int xattr_errno(void)
{
    return errno == ENOENT ? -ENOSYS : errno == E2BIG ? VMCTL_ETOOBIG : -errno;
}

/* The names, each with a zero behind it; none is a length of 0. */
static int xattr_names(const char *via, char **out, size_t *out_len)
{
    for (int i = 0; i < TRIES; i++) {
        ssize_t need = listxattr(via, NULL, 0);
        if (need <= 0) {
            *out = NULL;
            *out_len = 0;
            return need == 0 || errno == ENOTSUP ? 0 : xattr_errno();
        }
        char *names = malloc((size_t)need);
        if (!names)
            return -ENOMEM;
        ssize_t len = listxattr(via, names, (size_t)need);
        if (len >= 0) {
            *out = names;
            *out_len = (size_t)len;
            return 0;
        }
        int err = xattr_errno();
        free(names);
        if (err != -ERANGE)
            return err;
    }
    return -EAGAIN;
}

/* Adds one; it is no failure if it has gone meanwhile. */
static int xattr_take(const char *via, const char *name, uint8_t *value, struct vmctl_xattrs *out)
{
    ssize_t len = getxattr(via, name, value, VMCTL_XATTR_VALUE);
    if (len < 0)
        return errno == ENODATA ? 0 : errno == ERANGE ? VMCTL_ETOOBIG : xattr_errno();
    return vmctl_xattrs_set(out, name, strlen(name), value, (size_t)len);
}

static int xattrs_take(const char *via, const char *names, size_t len, struct vmctl_xattrs *out)
{
    uint8_t *value = malloc(VMCTL_XATTR_VALUE);
    int err = value ? 0 : -ENOMEM;
    for (size_t at = 0; !err && at < len; at += strlen(names + at) + 1)
        err = xattr_take(via, names + at, value, out);
    free(value);
    return err;
}

int vmctl_root_xattrs(const struct vmctl_root *root, const char *path, struct vmctl_xattrs *out)
{
    struct vmctl_xattrs found = { 0 };
    char via[32], *names = NULL;
    size_t len = 0;
    int fd, err = xattr_name(root, path, via, &fd);
    if (err)
        return err;
    err = xattr_names(via, &names, &len);
    if (!err && len)
        err = xattrs_take(via, names, len, &found);
    free(names);
    close(fd);
    if (err)
        vmctl_xattrs_free(&found);
    else
        *out = found;
    return err;
}

int vmctl_root_set_xattr(const struct vmctl_root *root, const char *path, const char *name, const void *value, size_t len)
{
    char via[32];
    int fd, err = xattr_name(root, path, via, &fd);
    if (err)
        return err;
    err = setxattr(via, name, value, len, 0) < 0 ? xattr_errno() : 0;
    close(fd);
    return err;
}
