/* Descriptors 0, 1 and 2, which a program may have been started without. */
#ifndef VMCTL_IO_STANDARD_FDS_H
#define VMCTL_IO_STANDARD_FDS_H

enum { VMCTL_STANDARD_FDS = 3 };

/* Occupies those of 0, 1 and 2 that are closed, so that the next open returns none of them. Release frees them. */
struct vmctl_standard_hold {
    int fds[VMCTL_STANDARD_FDS];
    int count;
};

void vmctl_standard_fds_hold(struct vmctl_standard_hold *hold);
void vmctl_standard_fds_release(struct vmctl_standard_hold *hold);

/* For programs: each that is closed becomes /dev/null, for this process and its children. Input is empty, errors go nowhere, and
 * output fails with EBADF as it did before: lost output must not look like success. 0 or a negative errno. */
int vmctl_standard_fds_open(void);

#endif
