/* Waiting for fds: directly instead of libev, by libev, or for fds alone. */
#include "io/loop_parts.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

enum { LOOP_EVENTS = 64 };

static int event_fd(const struct epoll_event *e)
{
    return (int)(uint32_t)e->data.u64;
}

/* Tells if we may wait instead of libev. Its events must hold the fd in their lower half, which is tried here. */
bool vmctl_loop_can_wait(struct vmctl_loop *loop)
{
    struct epoll_event e;
    ev_run(loop->ev, EVRUN_NOWAIT); /* now the kernel knows of the tick */
    vmctl_loop_set_tick(loop, 0);
    bool can = epoll_wait(loop->fd, &e, 1, 10) == 1 && event_fd(&e) == loop->tick.fd;
    vmctl_loop_set_tick(loop, INFINITY);
    return can;
}

/* Holds SIGINT back from here to the wait, which lets it in. True: do not wait. */
static bool loop_hold_signals(struct vmctl_loop *loop, sigset_t *before)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    pthread_sigmask(SIG_BLOCK, &held, before);
    return loop->interrupted(loop);
}

static void on_wait_begins(struct ev_loop *ev)
{
    struct vmctl_loop *loop = ev_userdata(ev);
    loop->wait_begins(loop);
}

static void on_wait_ends(struct ev_loop *ev)
{
    struct vmctl_loop *loop = ev_userdata(ev);
    loop->wait_ends(loop);
}

void vmctl_loop_share(struct vmctl_loop *loop, void (*begins)(struct vmctl_loop *loop), void (*ends)(struct vmctl_loop *loop))
{
    loop->wait_begins = begins;
    loop->wait_ends = ends;
    if (begins)
        ev_set_loop_release_cb(loop->ev, on_wait_begins, on_wait_ends);
    else
        ev_set_loop_release_cb(loop->ev, NULL, NULL);
}

static int loop_epoll_shared(struct vmctl_loop *loop, struct epoll_event *events)
{
    loop->wait_begins(loop);
    int n = epoll_wait(loop->fd, events, LOOP_EVENTS, -1);
    loop->wait_ends(loop);
    return n;
}

static int loop_epoll(struct vmctl_loop *loop, struct epoll_event *events)
{
    if (loop->wait_begins)
        return loop_epoll_shared(loop, events);
    if (!loop->interrupted || vmctl_loop_is_guarded(loop))
        return epoll_wait(loop->fd, events, LOOP_EVENTS, -1);
    sigset_t before;
    int timeout = loop_hold_signals(loop, &before) ? 0 : -1;
    int n = epoll_pwait(loop->fd, events, LOOP_EVENTS, timeout, &before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

/* Waits and handles events as libev does: only without a limit of libev's own, and when it has no change for the kernel. */
void vmctl_loop_wait(struct vmctl_loop *loop)
{
    struct epoll_event events[LOOP_EVENTS];
    int n = loop_epoll(loop, events);
    for (int i = 0; i < n; i++) {
        const uint32_t e = events[i].events, broken = EPOLLERR | EPOLLHUP;
        int what = (e & (EPOLLIN | broken) ? EV_READ : 0) | (e & (EPOLLOUT | broken) ? EV_WRITE : 0);
        ev_feed_fd_event(loop->ev, event_fd(&events[i]), what);
    }
    ev_invoke_pending(loop->ev);
}

void vmctl_loop_look(struct vmctl_loop *loop)
{
    loop->happened = 0;
    loop->changed = false;
    loop->active = ev_run(loop->ev, EVRUN_NOWAIT);
}

bool vmctl_loop_sleep(struct vmctl_loop *loop, double most)
{
    struct pollfd p = { .fd = loop->fd, .events = POLLIN };
    struct timespec limit = { .tv_sec = isinf(most) ? 0 : (time_t)most };
    limit.tv_nsec = isinf(most) ? 0 : (long)((most - (double)limit.tv_sec) * 1e9);
    sigset_t before;
    if (!loop->interrupted)
        return ppoll(&p, 1, isinf(most) ? NULL : &limit, NULL) >= 0;
    int n = loop_hold_signals(loop, &before) ? -1 : ppoll(&p, 1, isinf(most) ? NULL : &limit, &before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n >= 0;
}

/* Waits by libev without missing a signal, which libev itself cannot do. */
static void loop_run_held(struct vmctl_loop *loop, bool wait)
{
    vmctl_loop_look(loop);
    if (!wait || loop->happened || (loop->active <= 0 && isinf(loop->armed)))
        return;
    if (loop->direct && !loop->changed && !loop->files)
        vmctl_loop_wait(loop);
    else if (vmctl_loop_sleep(loop, INFINITY))
        vmctl_loop_look(loop);
}

void vmctl_loop_run(struct vmctl_loop *loop, bool wait)
{
    if (loop->interrupted) {
        loop_run_held(loop, wait);
        return;
    }
    /* libev does not wait if it knows of nothing to wait for: the tick does not count, but is a reason */
    bool only_tick = wait && !isinf(loop->armed);
    loop->changed = false;
    if (only_tick)
        ev_ref(loop->ev);
    loop->active = ev_run(loop->ev, wait ? EVRUN_ONCE : EVRUN_NOWAIT);
    if (only_tick) {
        ev_unref(loop->ev);
        loop->active--;
    }
}
