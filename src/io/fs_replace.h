/* Putting files into folders that others may write to: no symbolic link is followed, and files appear as a whole. */
#ifndef VMCTL_IO_FS_REPLACE_H
#define VMCTL_IO_FS_REPLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct vmctl_fs_attributes {
    mode_t mode;        /* of the file, exactly: no umask */
    mode_t folder_mode; /* of folders that have to be made */
    bool own;           /* the file, and the last folder if it is made, shall belong to uid and gid */
    uid_t uid;
    gid_t gid;
    bool lenient;       /* a process that may not change owners keeps the files */
    bool repair;        /* a last folder that is there gets folder_mode, and with `own` its owner */
};

/* Opens the folder `path` below the folder `base`, making missing folders. Links are followed in `base` alone; ".." is
 * -EINVAL. With `own` and without `repair`, a last folder of somebody else than that user or ourselves is -EPERM. Sets
 * `*changed` when the last folder was repaired. */
int vmctl_fs_enter(const char *base, const char *path, const struct vmctl_fs_attributes *how, int *out_fd, bool *changed);

/* Replaces `name` in a folder by a new file, which is written to disk first; its temporary name begins with a dot. Replaces files and
 * links only; a FIFO, a socket or a device is -EEXIST, a folder -EISDIR. */
int vmctl_fs_write_new(int folder, const char *name, const void *bytes, size_t len, const struct vmctl_fs_attributes *how);

/* The same, but a file that has this content, mode and owner already stays: `changed` is false then. */
int vmctl_fs_replace(int folder, const char *name, const void *bytes, size_t len, const struct vmctl_fs_attributes *how,
                     bool *changed);

/* Reads a regular file, at most `max` bytes (VMCTL_ETOOBIG); another kind of file is -EINVAL. Never waits
 * for a FIFO, never follows a link. */
int vmctl_fs_read(const char *path, void *bytes, size_t max, size_t *len);

/* Writes all of it. */
int vmctl_fs_write_all(int fd, const char *bytes, size_t len);

#endif
