/* A system call that may never return, made by a process of its own, which is killed after a limit: a mount waits for its server, and no
 * signal to a thread interrupts that. */
#ifndef VMCTL_IO_APART_H
#define VMCTL_IO_APART_H

enum { VMCTL_APART_LIMIT = 10 }; /* seconds */

/* Waits for call(arg), which returns 0 or a negative errno, made by a child. The call may not allocate, and what it
 * changes in memory is lost. Returns its result; -ETIMEDOUT after the limit; -ECHILD if the child ended without one. */
int vmctl_apart(int (*call)(const void *arg), const void *arg, int seconds);

#endif
