/* Files below a folder that stands for "/": links and ".." lead nowhere else, as after a chroot. */
#ifndef VMCTL_IO_FS_ROOT_H
#define VMCTL_IO_FS_ROOT_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct vmctl_root {
    int fd;      /* of the folder; -1: closed */
    bool whole;  /* it is this machine's own "/": no path can lead out of it */
    bool strict; /* no link is followed: the files below are not trusted */
    bool near;   /* no other file system is entered (-EXDEV): this one is known not to hang */
};

/* Opens the folder; links on the way to it are followed. */
int vmctl_root_open(const char *path, bool strict, struct vmctl_root *root);

/* True if the file system of an fd is this machine's own: its calls depend on a disk at most, and on no other machine or program. */
bool vmctl_fs_is_local(int fd);

/* A second fd of the same folder, near. -EXDEV: its file system is not local. */
int vmctl_root_near(const struct vmctl_root *root, struct vmctl_root *near);

/* Opens a path as open(2) would; always close-on-exec, non-blocking, and never a controlling terminal. Needs Linux 5.6
 * (-ENOSYS) unless the root is whole and not strict. A link below a strict root is -ELOOP, ".." beyond it -EXDEV. A
 * near root opens only files and folders (-EXDEV: a device may make its user wait). */
int vmctl_root_openat(const struct vmctl_root *root, const char *path, int flags, mode_t mode, int *out_fd);

/* Opens the folder in which a path's last name is, and copies that name. A path without one ("/", "a/..") is -EINVAL. */
int vmctl_root_parent(const struct vmctl_root *root, const char *path, char name[NAME_MAX + 1], int *out_fd);

/* Removes a tree and never leaves it: links are removed, not followed. A missing path is no error. -ELOOP: more than
 * 512 folders inside each other. */
int vmctl_root_remove_all(const struct vmctl_root *root, const char *path);

#endif
