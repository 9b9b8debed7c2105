/* Landlock: limits the files that a program may use. By system call numbers: libcs have no functions for these. */
#ifndef VMCTL_IO_LANDLOCK_H
#define VMCTL_IO_LANDLOCK_H

#include <stdbool.h>

/* The version of its interface, at least 1; -EOPNOTSUPP or -ENOSYS where the kernel has none. */
int vmctl_landlock_abi(void);

/* A set of rules that allows nothing yet; for a process that then takes it on by its descriptor (close-on-exec). */
int vmctl_landlock_new(int *out_fd);

/* Allows to read and run, or with `write` to do anything, with a file, or with a folder and all that is below. -ENOENT: there is
 * no such file. */
int vmctl_landlock_allow(int rules, const char *path, bool write);

#endif
