/* Files that only this user may read: consoles, captures, traces, pictures. */
#ifndef VMCTL_IO_FS_PRIVATE_H
#define VMCTL_IO_FS_PRIVATE_H

#include <stdbool.h>
#include <sys/stat.h>

/* Opens a file for writing, mode 0600, made if it is not there: a regular file of this user's, no link (-ELOOP), nobody else's
 * (-EPERM), no FIFO or device (-EINVAL). It is appended to, or emptied first with `empty`. Never waits for a reader. */
int vmctl_private_open(const char *path, bool empty, int *out_fd, struct stat *st);

/* Opens an empty file for reading and writing that has no name: on the file system of `folder`, or in memory, without a folder or
 * where that file system makes no such files. Its mode is 0666: any user who gets the descriptor may open it once more. */
int vmctl_unnamed_open(const char *folder, int *out_fd);

#endif
