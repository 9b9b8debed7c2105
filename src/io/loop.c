#include "io/loop.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

double vmctl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void on_tick(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    struct vmctl_loop *loop = VMCTL_CONTAINER(w, struct vmctl_loop, tick);
    loop->armed = INFINITY;
    loop->due = true;
}

int vmctl_loop_open(struct vmctl_loop *loop)
{
    *loop = (struct vmctl_loop){ 0 };
    vmctl_list_init(&loop->handles);
    loop->scratch = malloc(VMCTL_SCRATCH);
    if (!loop->scratch)
        return -ENOMEM;
    /* Never the default loop: that one takes SIGCHLD. NOENV: the host's environment does not choose our back end. */
    loop->ev = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (!loop->ev) {
        free(loop->scratch);
        return -ENOMEM;
    }
    ev_timer_init(&loop->tick, on_tick, 0., 0.);
    loop->armed = INFINITY;
    loop->fd = -1;
    return 0;
}

static void loop_close_handles(struct vmctl_loop *loop)
{
    while (!vmctl_list_empty(&loop->handles)) {
        struct vmctl_handle *h = VMCTL_CONTAINER(loop->handles.next, struct vmctl_handle, link);
        vmctl_list_remove(&h->link); /* first: closing may free it, as it does a child whose owner has gone */
        h->close(h);
    }
}

void vmctl_loop_close(struct vmctl_loop *loop)
{
    if (!loop->ev)
        return;
    loop_close_handles(loop);
    ev_timer_stop(loop->ev, &loop->tick);
    ev_loop_destroy(loop->ev);
    loop->ev = NULL;
    free(loop->heap);
    free(loop->scratch);
    loop->heap = NULL;
    loop->timers = loop->heap_size = 0;
    loop->scratch = NULL;
}

/* Timers set by the callbacks of this round wait for the next one, so that one that is always due starves nobody. */
static void loop_expire(struct vmctl_loop *loop)
{
    loop->due = false;
    double now = vmctl_now();
    while (loop->timers && loop->heap[0]->at <= now) {
        struct vmctl_timer *t = loop->heap[0];
        vmctl_timer_stop(loop, t);
        t->expired(t);
    }
}

/* Lets libev wake us at `at`. A tick that is set to fire earlier stays: waking early once costs less than asking the clock
 * and setting the tick anew in every round. */
static void loop_arm(struct vmctl_loop *loop, double at)
{
    if (loop->armed <= at)
        return;
    double wait = at - vmctl_now();
    ev_timer_stop(loop->ev, &loop->tick);
    ev_now_update(loop->ev);
    ev_timer_set(&loop->tick, wait > 0 ? wait : 0., 0.);
    ev_timer_start(loop->ev, &loop->tick);
    loop->armed = at;
}

/* For a wait without end: a tick that nobody needs would hide that there is nothing to wait for. */
static void loop_disarm(struct vmctl_loop *loop)
{
    ev_timer_stop(loop->ev, &loop->tick);
    loop->armed = INFINITY;
}

bool vmctl_loop_poll(struct vmctl_loop *loop, double until)
{
    double first = loop->timers ? loop->heap[0]->at : INFINITY;
    bool wait = until > 0; /* the clock began before: all that is not "do not wait" is a time */
    if (!isinf(first) || (wait && !isinf(until)))
        loop_arm(loop, wait && until < first ? until : first);
    else if (wait)
        loop_disarm(loop);
    loop->changed = false;
    int active = ev_run(loop->ev, wait ? EVRUN_ONCE : EVRUN_NOWAIT);
    if (loop->due)
        loop_expire(loop);
    return active > !isinf(loop->armed) || loop->timers; /* the tick is among those that are active */
}

double vmctl_loop_next(struct vmctl_loop *loop)
{
    if (loop->changed)
        return -INFINITY; /* libev tells the kernel of new watchers only when it polls */
    return loop->timers ? loop->heap[0]->at : INFINITY;
}

/* libev keeps the fd of its back end to itself, but a watcher that embeds the loop into another one holds it. */
static int loop_backend(struct ev_loop *inner)
{
    struct ev_loop *outer = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (!outer)
        return -ENOMEM;
    ev_embed w;
    ev_embed_init(&w, NULL, inner);
    ev_embed_start(outer, &w);
    int fd = w.io.fd;
    ev_embed_stop(outer, &w);
    ev_loop_destroy(outer);
    return fd;
}

int vmctl_loop_fd(struct vmctl_loop *loop)
{
    if (loop->fd < 0)
        loop->fd = loop_backend(loop->ev);
    return loop->fd;
}

void vmctl_handle_add(struct vmctl_loop *loop, struct vmctl_handle *h)
{
    vmctl_list_append(&loop->handles, &h->link);
}
