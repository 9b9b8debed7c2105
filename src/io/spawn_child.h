/* The child's side of a spawn: the code between fork and exec. Only spawn.c calls this. */
#ifndef VMCTL_IO_SPAWN_CHILD_H
#define VMCTL_IO_SPAWN_CHILD_H

#include "io/spawn.h"

struct vmctl_child_report {
    long err;         /* positive errno; 0: nothing failed. As wide as a pointer: no padding goes into the pipe */
    const char *step; /* a literal, so at the same address in parent and child */
};

struct vmctl_child {
    const struct vmctl_spawn *spec;
    char *const *files; /* to be tried in this order; NULL-terminated */
    char **script;      /* argv for /bin/sh, should the file turn out to be a script; [1] is left for its path */
    pid_t parent;
    int landlock;       /* the rules, beyond the child's own fds; -1: none */
    int report_fd;      /* takes the report where memory is not shared; beyond the child's own fds, close-on-exec. -1: memory is to be shared */
    int pidfd;          /* the parent's, where the kernel gave it with the fork; else -1 */
    volatile bool shared; /* set by the child: parent sees it only when they share memory */
    volatile struct vmctl_child_report report;
};

/* True if every child that keeps its user shares our memory until exec, where the kernel supports it. */
#if defined(__x86_64__) || defined(__aarch64__)
#define VMCTL_CHILD_SHARES true
#else
#define VMCTL_CHILD_SHARES false
#endif

/* Returns the pid or -errno in the parent, and never in the child. Afterwards, if `shared` is set, `report` is final;
 * if not, the child may still be under way: its report, or the end of file when it succeeds, comes through report_fd. */
pid_t vmctl_child_fork(struct vmctl_child *c);

#endif
