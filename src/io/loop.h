/* One event loop: libev for the fds, a heap of our own for the timers, and a list of all open handles. */
#ifndef VMCTL_IO_LOOP_H
#define VMCTL_IO_LOOP_H

#include "io/list.h"
#include "io/maker.h"
#include "wire/buf.h"

#include <ev.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { VMCTL_SCRATCH = 256 * 1024 };

struct vmctl_timer {
    double at;   /* on the clock of vmctl_loop_now */
    size_t slot; /* 1 + index in the heap; 0 while it is not set */
    void (*expired)(struct vmctl_timer *t);
};

struct vmctl_cgroups;
struct vmctl_workers;

struct vmctl_loop {
    struct vmctl_maker maker;
    struct ev_loop *ev;
    ev_io tick;                 /* a timerfd: readable when the first timer of the heap is due */
    double armed;               /* when tick fires; INFINITY while it is not set */
    bool due;                   /* it has fired: the heap has due timers */
    int fd;                     /* what libev polls */
    int active;                 /* watchers that libev had when it last polled, without the tick */
    unsigned files;             /* open streams on regular files, which epoll does not take and libev feigns */
    unsigned turns;             /* waits since libev last polled */
    unsigned waits;             /* of ours, since the guard was set or ended */
    double guard;               /* when the tick fires in any case, while the loop is busy; INFINITY while it is not */
    bool direct;                /* we can wait on `fd` instead of libev */
    struct vmctl_timer **heap;
    size_t timers, heap_size;
    struct vmctl_list handles;  /* of struct vmctl_handle */
    struct vmctl_list drains;   /* see drain.h */
    unsigned ndrains;
    struct vmctl_cgroups *cgroups; /* see cgroup.h; NULL until they are asked for */
    bool spawns_share;          /* see `shares` in spawn.h */
    struct vmctl_workers *workers; /* see workers.h; NULL until they are needed */
    bool at_work;               /* a task waits for them: a virtual clock does not leap over that */
    struct vmctl_list chores;   /* of struct vmctl_chore: run before the next wait */
    uint8_t *scratch;           /* VMCTL_SCRATCH bytes that any callback may use until it returns */
    struct vmctl_buf spare;     /* empty: a large block of a waiting stream, for the next stream that reads much */
    struct vmctl_buf shelf;     /* empty: a small one, for the next growing buffer of a stream; see stream_blocks.h */
    double skew;                /* how far this loop's clock is ahead of the monotonic one */
    double grace;               /* on a virtual clock: seconds that fds get before time leaps; below 0: the clock is real */
    unsigned happened;          /* events that libev has handed out */
    bool (*interrupted)(struct vmctl_loop *loop); /* NULL, or: true if the next wait must end at once. See interrupt.h */
    bool changed;               /* watchers were started or stopped since libev last polled */
    void (*wait_begins)(struct vmctl_loop *loop); /* see vmctl_loop_share; NULL: the loop is one thread's */
    void (*wait_ends)(struct vmctl_loop *loop);
};

/* Work that is deferred until the loop is about to wait, so that it is done once for several requests. */
struct vmctl_chore {
    struct vmctl_list link;
    bool (*run)(struct vmctl_chore *c); /* true: it has woken a waiter */
};

/* An object that holds an fd, a child or a thread until it is closed. */
struct vmctl_handle {
    struct vmctl_list link;
    void (*close)(struct vmctl_handle *h); /* idempotent, never blocks */
};

/* Seconds on the monotonic clock. */
static inline double vmctl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The same on the clock of a loop, which a virtual one has put ahead. It never goes back. */
static inline double vmctl_loop_now(const struct vmctl_loop *loop)
{
    return vmctl_now() + loop->skew;
}

/* Makes the clock virtual: where poll would wait although nothing is ready, and watched fds have had `grace` seconds, the
 * clock leaps to the next timer or to the end of the wait. A grace below 0 makes it real again, from its present time on. */
void vmctl_loop_set_virtual(struct vmctl_loop *loop, double grace);

int vmctl_loop_open(struct vmctl_loop *loop);

/* True in the process that opened the loop. In the child of a fork its handles are only closed: nothing is sent, signalled, removed or
 * told to the kernel. */
static inline bool vmctl_loop_is_ours(const struct vmctl_loop *loop)
{
    return vmctl_maker_is_us(&loop->maker);
}

/* Lets another thread change watchers and timers of the loop while it waits in the kernel: `begins` gives up a lock, `ends` takes it
 * again. The thread has to end the wait after a change. NULL: no longer. */
void vmctl_loop_share(struct vmctl_loop *loop, void (*begins)(struct vmctl_loop *loop), void (*ends)(struct vmctl_loop *loop));

/* Closes every handle, then the loop itself. */
void vmctl_loop_close(struct vmctl_loop *loop);

/* Waits until something has happened, at most until `until` (the loop's clock; INFINITY: no limit; not above 0: do not wait),
 * and runs the callbacks. False: there was nothing to wait for, and there will not be. Not in the child of a fork. */
bool vmctl_loop_poll(struct vmctl_loop *loop, double until);

/* For embedding: an fd that becomes readable when poll has work, and the time when it has work without it. */
int vmctl_loop_fd(const struct vmctl_loop *loop);
double vmctl_loop_next(struct vmctl_loop *loop);

void vmctl_handle_add(struct vmctl_loop *loop, struct vmctl_handle *h);

/* For the callback of a watcher: 0, or why the kernel does not watch its fd (ENOSPC: the user has too many), which has stopped
 * it. -EAGAIN: it does now, and nothing has happened. */
int vmctl_io_failed(struct vmctl_loop *loop, ev_io *w, int events);

/* Before an fd whose watchers have stopped is closed or given away: the kernel watches it for this loop no more. libev leaves that
 * to close(2), which does not do it while a child or a duplicate holds the same file. */
void vmctl_io_forget(const struct vmctl_loop *loop, int fd);

/* Forgets an fd and closes it. */
void vmctl_io_close(const struct vmctl_loop *loop, int fd);

/* Runs a chore before the next wait. Removing it from its list undoes that. */
static inline void vmctl_chore_add(struct vmctl_loop *loop, struct vmctl_chore *c)
{
    if (vmctl_list_empty(&c->link))
        vmctl_list_append(&loop->chores, &c->link);
}

/* (Re)sets a timer. -ENOMEM leaves it unset. */
int vmctl_timer_set(struct vmctl_loop *loop, struct vmctl_timer *t, double at);
void vmctl_timer_stop(struct vmctl_loop *loop, struct vmctl_timer *t);

static inline void vmctl_io_start(struct vmctl_loop *loop, ev_io *w)
{
    if (!ev_is_active(w)) {
        loop->changed = true;
        ev_io_start(loop->ev, w);
    }
}

static inline void vmctl_io_stop(struct vmctl_loop *loop, ev_io *w)
{
    if (ev_is_active(w) || ev_is_pending(w)) {
        loop->changed = true;
        ev_io_stop(loop->ev, w);
    }
}

#endif
