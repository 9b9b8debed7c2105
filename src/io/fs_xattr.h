/* Extended attributes of files below a root. */
#ifndef VMCTL_IO_FS_XATTR_H
#define VMCTL_IO_FS_XATTR_H

#include "io/fs_root.h"
#include "wire/xattrs.h"

/* Reads those of the file at a path; a last link is not followed. `out` is empty before, and is the caller's to free on success. On a
 * file system that has none the list is empty. VMCTL_ETOOBIG: more than a list may have. Needs /proc (-ENOSYS). */
int vmctl_root_xattrs(const struct vmctl_root *root, const char *path, struct vmctl_xattrs *out);

/* Sets one of the file at a path; a last link is not followed. Needs /proc (-ENOSYS). */
int vmctl_root_set_xattr(const struct vmctl_root *root, const char *path, const char *name, const void *value, size_t len);

#endif
