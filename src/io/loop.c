/* The event loop: waits for fds and for the first timer, then runs what became due. */
#include "io/loop.h"

#include "io/loop_room.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOP_EVENTS = 64,
    LOOP_BUSY = 8, /* waits within LOOP_GUARD: from there on the guard costs less than a signal mask for each wait */
    LOOP_TURNS = 100 /* waits of ours before libev looks itself: it tells the kernel not to watch what nobody waits for */
};

static const double LOOP_GUARD = 0.02; /* s: for so long a busy loop may not notice a signal */

double vmctl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* libev keeps the fd of its back end to itself, but a watcher that embeds the loop into another one holds it. */
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

/* While the loop is busy, the tick fires every LOOP_GUARD seconds, and ends a wait that has missed a signal; see interrupt.h. */
static void loop_renew_guard(struct vmctl_loop *loop)
{
    double now = vmctl_loop_now(loop);
    if (loop->guard > now)
        return;
    loop->guard = loop->waits >= LOOP_BUSY ? now + LOOP_GUARD : INFINITY;
    loop->waits = 0;
}

static bool loop_is_guarded(struct vmctl_loop *loop)
{
    loop->waits++;
    if (!isinf(loop->guard))
        return true;
    if (loop->waits >= LOOP_BUSY) {
        loop->guard = vmctl_loop_now(loop) + LOOP_GUARD; /* the next wait sets the tick */
        loop->waits = 0;
    }
    return false;
}

/* One fd for all timers: with a timer of libev, or its own limit of a minute, every wait would set up and tear down a timer
 * in the kernel, which costs a small message a tenth of its time. */
static void on_tick(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev, (void)events;
    struct vmctl_loop *loop = VMCTL_CONTAINER(w, struct vmctl_loop, tick);
    uint64_t times;
    if (read(w->fd, &times, sizeof times) < 0)
        return; /* armed anew meanwhile */
    loop->armed = INFINITY;
    loop->due = true;
    if (!isinf(loop->guard))
        loop_renew_guard(loop);
}

static void on_pending(struct ev_loop *ev)
{
    struct vmctl_loop *loop = ev_userdata(ev);
    loop->happened += ev_pending_count(ev);
    ev_invoke_pending(ev);
}

static void loop_set_tick(struct vmctl_loop *loop, double at)
{
    struct itimerspec t = { 0 };
    double real = at - loop->skew;
    if (!isinf(at)) {
        t.it_value.tv_sec = real > 0 ? (time_t)real : 0;
        t.it_value.tv_nsec = real > 0 ? (long)((real - (double)t.it_value.tv_sec) * 1e9) + 1 : 1; /* 0 would disarm it */
        if (t.it_value.tv_nsec > 999999999)
            t.it_value.tv_nsec = 999999999;
    }
    timerfd_settime(loop->tick.fd, TFD_TIMER_ABSTIME, &t, NULL);
    loop->armed = at;
}

static int event_fd(const struct epoll_event *e)
{
    return (int)(uint32_t)e->data.u64;
}

/* May we wait in libev's place? Its events hold the fd in their lower half, and whether they really do is tried here. */
static bool loop_can_wait(struct vmctl_loop *loop)
{
    struct epoll_event e;
    ev_run(loop->ev, EVRUN_NOWAIT); /* now the kernel knows of the tick */
    loop_set_tick(loop, 0);
    bool can = epoll_wait(loop->fd, &e, 1, 10) == 1 && event_fd(&e) == loop->tick.fd;
    loop_set_tick(loop, INFINITY);
    return can;
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
    ev_io_init(&loop->tick, on_tick, tick, EV_READ);
    ev_io_start(loop->ev, &loop->tick);
    ev_unref(loop->ev); /* it alone is nothing to wait for */
    loop->direct = loop_can_wait(loop);
    vmctl_maker_open(&loop->maker);
    if (ev_is_active(&loop->tick))
        return 0;
    vmctl_loop_close(loop); /* the kernel watches no fd more for this user */
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

/* Timers set by the callbacks of this round wait for the next one, so that one that is always due starves no other. */
static void loop_expire(struct vmctl_loop *loop)
{
    loop->due = false;
    double now = vmctl_loop_now(loop);
    while (loop->timers && loop->heap[0]->at <= now) {
        struct vmctl_timer *t = loop->heap[0];
        vmctl_timer_stop(loop, t);
        t->expired(t);
    }
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
    if (!loop->interrupted || loop_is_guarded(loop))
        return epoll_wait(loop->fd, events, LOOP_EVENTS, -1);
    sigset_t before;
    int timeout = loop_hold_signals(loop, &before) ? 0 : -1;
    int n = epoll_pwait(loop->fd, events, LOOP_EVENTS, timeout, &before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

/* As libev would have waited and looked: only with no limit of its own, and when it has nothing new to tell the kernel. */
static void loop_wait(struct vmctl_loop *loop)
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

/* The tick is set for `at`. One that is set to fire earlier stays: waking early once costs less than setting it anew in
 * every round. But for a wait without end: a tick that nobody needs would hide that there is nothing to wait for. */
static void loop_arm(struct vmctl_loop *loop, double at)
{
    if (loop->armed > at || (isinf(at) && !isinf(loop->armed)))
        loop_set_tick(loop, at);
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

static void loop_look(struct vmctl_loop *loop)
{
    loop->happened = 0;
    loop->changed = false;
    loop->active = ev_run(loop->ev, EVRUN_NOWAIT);
}

/* Waits until libev would have something to look at, at most `most` seconds. False: a signal, or it was not to wait. */
static bool loop_sleep(struct vmctl_loop *loop, double most)
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

/* A wait that misses no signal, which libev has not. */
static void loop_run_held(struct vmctl_loop *loop, bool wait)
{
    loop_look(loop);
    if (!wait || loop->happened || (loop->active <= 0 && isinf(loop->armed)))
        return;
    if (loop->direct && !loop->changed && !loop->files)
        loop_wait(loop);
    else if (loop_sleep(loop, INFINITY))
        loop_look(loop);
}

static void loop_run(struct vmctl_loop *loop, bool wait)
{
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

/* A virtual clock */

void vmctl_loop_set_virtual(struct vmctl_loop *loop, double grace)
{
    loop->grace = grace;
    if (!vmctl_loop_is_ours(loop))
        return;
    loop_set_tick(loop, INFINITY); /* the kernel's timer knows nothing of leaps; the next poll sets it if it is wanted */
    loop->due = loop->timers > 0;
}

/* Waits for fds alone, in real time, for the grace or for as long as there is no timer that could end the wait. What runs
 * outside of this process gets no more than that: see vmctl_loop_set_virtual. */
static bool loop_await_fds(struct vmctl_loop *loop, double left)
{
    double most = loop->at_work || left < loop->grace ? left : loop->grace;
    if (!loop_sleep(loop, isinf(left) ? left : most))
        return false;
    loop_look(loop);
    return true;
}

static bool loop_poll_virtual(struct vmctl_loop *loop, double until)
{
    loop_look(loop);
    double first = loop->timers ? loop->heap[0]->at : INFINITY, next = until < first ? until : first;
    double left = next - vmctl_loop_now(loop);
    bool wait = until > 0 && !loop->happened && left > 0;
    if (wait && loop->active > 0 && (isinf(left) || loop->grace > 0 || loop->at_work) && !loop_await_fds(loop, left))
        return true; /* a signal, and not the end of the wait */
    left = next - vmctl_loop_now(loop);
    if (wait && !loop->happened && !isinf(left) && left > 0)
        loop->skew += left;
    loop_expire(loop);
    return loop->active > 0 || loop->timers;
}

bool vmctl_loop_poll(struct vmctl_loop *loop, double until)
{
    if (!vmctl_list_empty(&loop->chores) && loop_do_chores(loop))
        until = -INFINITY;
    if (loop->grace >= 0)
        return loop_poll_virtual(loop, until);
    double first = loop->timers ? loop->heap[0]->at : INFINITY;
    bool wait = until > 0; /* the clock began before: all that is not "do not wait" is a time */
    if (wait || !isinf(first))
        loop_arm(loop, fmin(wait ? fmin(until, first) : first, loop->guard));
    bool reason = loop->active > 0 || !isinf(loop->armed);
    if (wait && reason && loop->direct && !loop->changed && !loop->files && loop->turns++ < LOOP_TURNS) {
        loop_wait(loop);
    } else {
        loop->turns = 0;
        if (loop->interrupted)
            loop_run_held(loop, wait);
        else
            loop_run(loop, wait);
    }
    if (loop->due)
        loop_expire(loop);
    return loop->active > 0 || loop->timers;
}

/* libev does not tell the error: the same call is made again for it. And it takes a watcher that is started again before it has
 * looked for one that the kernel knows already, unless that was set anew. */
int vmctl_io_failed(struct vmctl_loop *loop, ev_io *w, int events)
{
    if (!(events & EV_ERROR))
        return 0;
    ev_io_set(w, w->fd, w->events & (EV_READ | EV_WRITE));
    struct epoll_event e = { 0 };
    if (epoll_ctl(loop->fd, EPOLL_CTL_ADD, w->fd, &e) == 0)
        epoll_ctl(loop->fd, EPOLL_CTL_DEL, w->fd, &e);
    else if (errno != EEXIST)
        return -errno;
    vmctl_io_start(loop, w);
    return -EAGAIN;
}

/* An event of a file that was closed here makes libev open its epoll fd anew: under another number perhaps, and where that
 * fails it ends the process. */
void vmctl_io_forget(const struct vmctl_loop *loop, int fd)
{
    struct epoll_event e = { 0 };
    if (loop->ev && vmctl_loop_is_ours(loop)) /* a fork's child has the same set */
        epoll_ctl(loop->fd, EPOLL_CTL_DEL, fd, &e);
}

void vmctl_io_close(const struct vmctl_loop *loop, int fd)
{
    vmctl_io_forget(loop, fd);
    close(fd);
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
