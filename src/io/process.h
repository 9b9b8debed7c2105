/* A child process until it is reaped: by pidfd on the loop, never by a SIGCHLD handler. */
#ifndef VMCTL_IO_PROCESS_H
#define VMCTL_IO_PROCESS_H

#include "io/cgroup.h"
#include "io/loop.h"
#include "io/spawn.h"
#include "io/wait.h"
#include "wire/error.h"

/* Allocated on its own: it outlives its owner when that goes before the child has been reaped. */
struct vmctl_process {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    pid_t pid;
    int pidfd;
    ev_io exited;
    struct vmctl_timer poll;    /* where the kernel has no pidfds, or watches no more fds */
    struct vmctl_waitq waiters;
    bool done;
    int code, signal;           /* once done: one of them is -1; both: other code has reaped it */
    struct vmctl_cgroup *cgroup; /* of its own; NULL: none */
    bool group;                 /* it leads a process group: signals go to all of it */
    bool sweep;                 /* the rest of its group is killed when it ends */
    uint64_t sent;              /* signals that its group was sent, by number: if it dies of one, the group is swept as well */
    bool dropped;               /* its owner is gone: free it when it is reaped */
};

/* Starts a child. `contain`: in a cgroup of its own where that is possible; this sets `cgroup` of the description. On failure the name
 * of the step is put into *step, as by vmctl_spawn_start. */
int vmctl_process_start(struct vmctl_loop *loop, const struct vmctl_spawn *how, bool contain, struct vmctl_process **out,
                        const char **step);

/* Signals it (its group, if it leads one and `group`). -ESRCH once it is reaped. */
int vmctl_process_kill(struct vmctl_process *p, int signal, bool group);

/* For the owner's end: a child that still runs is killed, and freed when it is reaped. */
void vmctl_process_drop(struct vmctl_process *p);

#endif
