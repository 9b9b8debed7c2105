/* Makes calls that may block (files, mounts, names) in a few threads, so that a call that hangs blocks its worker and not the loop. A
 * job is one such call: it runs in a worker, and its owner is told on the loop. */
#ifndef VMCTL_IO_WORKERS_H
#define VMCTL_IO_WORKERS_H

#include "io/loop.h"

#include <stdbool.h>

enum {
    VMCTL_WORKERS = 8,        /* threads of a loop; they start when they are needed and end when they are idle */
    VMCTL_WORKERS_QUEUE = 256 /* jobs that wait for one */
};

enum vmctl_job_state { VMCTL_JOB_QUEUED, VMCTL_JOB_RUNNING, VMCTL_JOB_DONE };

struct vmctl_workers;

struct vmctl_job {
    struct vmctl_list link;
    struct vmctl_workers *workers;       /* which the job keeps alive */
    void (*run)(struct vmctl_job *job);  /* in a worker: touches the job alone */
    void (*done)(struct vmctl_job *job); /* on the loop, unless the owner has left before */
    void (*free)(struct vmctl_job *job); /* when both have left it; in either thread */
    enum vmctl_job_state state;          /* guarded by the pool's lock until `done` is called */
    bool left;                           /* the owner has called vmctl_workers_leave */
};

/* Passes a job to the workers. 0, -EBUSY: the queue is full, or -errno: no thread could be started. On failure it stays the caller's. */
int vmctl_workers_submit(struct vmctl_loop *loop, struct vmctl_job *job);

/* The owner leaves a job, once for each one that was submitted, also after `done`. A job that waits or runs is done all the same, and its
 * owner is not told. The loop may be closed by then: jobs that no worker had taken are not done. */
void vmctl_workers_leave(struct vmctl_job *job);

/* Instead of vmctl_workers_leave, after `done` was called: the job can be submitted again. */
void vmctl_workers_take_back(struct vmctl_job *job);

/* True if a worker has taken it. */
bool vmctl_workers_began(struct vmctl_job *job);

#endif
