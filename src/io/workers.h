/* Calls that may block (files, mounts, names) are made by a few threads, so that one that hangs costs its worker and not the
 * loop. A job is one such call: it runs in a worker, and its owner is told on the loop. */
#ifndef VMCTL_IO_WORKERS_H
#define VMCTL_IO_WORKERS_H

#include "io/loop.h"

#include <stdbool.h>

enum {
    VMCTL_WORKERS = 8,        /* threads of a loop; they come when they are needed and go when they are idle */
    VMCTL_WORKERS_QUEUE = 256 /* jobs that wait for one */
};

enum vmctl_job_state { VMCTL_JOB_QUEUED, VMCTL_JOB_RUNNING, VMCTL_JOB_DONE };

struct vmctl_workers;

struct vmctl_job {
    struct vmctl_list link;
    struct vmctl_workers *workers;       /* which the job keeps alive */
    void (*run)(struct vmctl_job *job);  /* in a worker: touches the job alone */
    void (*done)(struct vmctl_job *job); /* on the loop, unless the owner has let go before */
    void (*free)(struct vmctl_job *job); /* when both have let go; in either thread */
    enum vmctl_job_state state;          /* guarded by the pool's lock until `done` is called */
    bool left;                           /* the owner has let go */
};

/* Hands over a job. 0, -EBUSY: the queue is full, or -errno: there is no thread to be had. On failure it stays the caller's. */
int vmctl_workers_submit(struct vmctl_loop *loop, struct vmctl_job *job);

/* The owner lets go, once for each job that was handed over, also after `done`. A job that waits or runs is done all the same,
 * and its owner is not told. The loop may be closed by then: jobs that no worker had taken are not done. */
void vmctl_workers_leave(struct vmctl_job *job);

/* Instead of that, of a job that `done` was called for: it can be handed over again. */
void vmctl_workers_take_back(struct vmctl_job *job);

/* Has a worker taken it? */
bool vmctl_workers_began(struct vmctl_job *job);

#endif
