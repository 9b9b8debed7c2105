/* The event loop: a round of it waits for fds and for the first timer, and runs what became due. */
#include "io/loop.h"

#include "io/loop_parts.h"
#include "io/loop_room.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { LOOP_TURNS = 100 }; /* waits of ours before libev polls itself: it then removes unused watches from the kernel */

/* libev does not show the fd of its back end, but a watcher that embeds the loop into another one has it. */
static int loop_backend(struct ev_loop *inner)
{
    struct ev_loop *outer = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (!outer)
        return -errno;
    ev_embed w;
    ev_embed_init(&w, NULL, inner);
    ev_embed_start(outer, &w);
    int fd = w.io.fd;
    ev_embed_stop(outer, &w);
    ev_loop_destroy(outer);
    return fd;
}

static void on_pending(struct ev_loop *ev)
{
    struct vmctl_loop *loop = ev_userdata(ev);
    loop->happened += ev_pending_count(ev);
    ev_invoke_pending(ev);
}

int vmctl_loop_open(struct vmctl_loop *loop)
{
    *loop = (struct vmctl_loop){ .grace = -1, .guard = INFINITY };
    vmctl_list_init(&loop->handles);
    vmctl_list_init(&loop->chores);
    vmctl_list_init(&loop->drains);
    int tick = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (tick < 0)
        return -errno;
    int err = vmctl_loop_room_open(&loop->ev);
    if (!err)
        err = loop->fd = loop_backend(loop->ev);
    if (err >= 0 && !(loop->scratch = malloc(VMCTL_SCRATCH)))
        err = -ENOMEM;
    if (err < 0) {
        if (loop->ev)
            ev_loop_destroy(loop->ev);
        loop->ev = NULL;
        close(tick);
        return err;
    }
    ev_set_userdata(loop->ev, loop);
    ev_set_invoke_pending_cb(loop->ev, on_pending);
    ev_io_init(&loop->tick, vmctl_loop_on_tick, tick, EV_READ);
    ev_io_start(loop->ev, &loop->tick);
    ev_unref(loop->ev); /* it alone does not keep the loop waiting */
    loop->direct = vmctl_loop_can_wait(loop);
    vmctl_maker_open(&loop->maker);
    if (ev_is_active(&loop->tick))
        return 0;
    vmctl_loop_close(loop); /* the kernel refuses to watch another fd for this user */
    return -ENOSPC;
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
    ev_ref(loop->ev);
    ev_io_stop(loop->ev, &loop->tick);
    close(loop->tick.fd);
    ev_loop_destroy(loop->ev);
    loop->ev = NULL;
    vmctl_maker_close(&loop->maker);
    free(loop->heap);
    free(loop->scratch);
    vmctl_buf_free(&loop->spare);
    vmctl_buf_free(&loop->shelf);
    loop->heap = NULL;
    loop->timers = loop->heap_size = 0;
    loop->scratch = NULL;
}

/* Chores that add themselves again are left for the next time. */
static bool loop_do_chores(struct vmctl_loop *loop)
{
    bool woken = false;
    struct vmctl_list now = loop->chores;
    now.next->prev = now.prev->next = &now;
    vmctl_list_init(&loop->chores);
    while (!vmctl_list_empty(&now)) {
        struct vmctl_chore *c = VMCTL_CONTAINER(now.next, struct vmctl_chore, link);
        vmctl_list_remove(&c->link);
        if (c->run(c))
            woken = true;
    }
    return woken;
}

bool vmctl_loop_poll(struct vmctl_loop *loop, double until)
{
    if (!vmctl_list_empty(&loop->chores) && loop_do_chores(loop))
        until = -INFINITY;
    if (loop->grace >= 0)
        return vmctl_loop_poll_virtual(loop, until);
    double first = loop->timers ? loop->heap[0]->at : INFINITY;
    bool wait = until > 0; /* the clock is above 0: other values mean "do not wait" */
    if (wait || !isinf(first))
        vmctl_loop_arm(loop, fmin(wait ? fmin(until, first) : first, loop->guard));
    bool reason = loop->active > 0 || !isinf(loop->armed);
    if (wait && reason && loop->direct && !loop->changed && !loop->files && loop->turns++ < LOOP_TURNS) {
        vmctl_loop_wait(loop);
    } else {
        loop->turns = 0;
        vmctl_loop_run(loop, wait);
    }
    if (loop->due)
        vmctl_loop_expire(loop);
    return loop->active > 0 || loop->timers;
}

double vmctl_loop_next(struct vmctl_loop *loop)
{
    if (loop->changed || !vmctl_list_empty(&loop->chores))
        return -INFINITY; /* libev tells the kernel of new watchers only when it polls */
    return loop->timers ? loop->heap[0]->at : INFINITY;
}

int vmctl_loop_fd(const struct vmctl_loop *loop)
{
    return loop->fd;
}

void vmctl_handle_add(struct vmctl_loop *loop, struct vmctl_handle *h)
{
    vmctl_list_append(&loop->handles, &h->link);
}
