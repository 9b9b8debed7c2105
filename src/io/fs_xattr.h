/* Extended attributes of files below a root. */
#ifndef VMCTL_IO_FS_XATTR_H
#define VMCTL_IO_FS_XATTR_H

#include "io/fs_root.h"
#include "wire/xattrs.h"

/* Those of what is at a path, a last link not followed. `out` holds nothing before, and is the caller's to free on success. A file
 * system without any has none. VMCTL_ETOOBIG: more than a list may hold. Needs /proc (-ENOSYS). */
int vmctl_beneath_xattrs(const struct vmctl_root *root, const char *path, struct vmctl_xattrs *out);

/* Sets one of what is at a path, a last link not followed. Needs /proc (-ENOSYS). */
int vmctl_beneath_xattr_set(const struct vmctl_root *root, const char *path, const char *name, const void *value, size_t len);

#endif
