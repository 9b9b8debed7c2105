/* The tick of a loop: one fd of the kernel for all its timers, and the guard of a busy loop. */
#include "io/loop_parts.h"

#include <math.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { LOOP_BUSY = 8 }; /* waits within LOOP_GUARD: from there on the guard costs less than a signal mask for each wait */

static const double LOOP_GUARD = 0.02; /* s: for so long a busy loop may not notice a signal */

/* While the loop is busy, the tick fires every LOOP_GUARD seconds, and ends a wait that has missed a signal; see interrupt.h. */
static void loop_renew_guard(struct vmctl_loop *loop)
{
    double now = vmctl_loop_now(loop);
    if (loop->guard > now)
        return;
    loop->guard = loop->waits >= LOOP_BUSY ? now + LOOP_GUARD : INFINITY;
    loop->waits = 0;
}

bool vmctl_loop_is_guarded(struct vmctl_loop *loop)
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
void vmctl_loop_on_tick(struct ev_loop *ev, ev_io *w, int events)
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

void vmctl_loop_set_tick(struct vmctl_loop *loop, double at)
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

/* Sets the tick for `at`. A tick that fires earlier stays: waking early once costs less than setting it anew in every round. For a
 * wait without end it is unset: an unneeded tick would hide that there is nothing to wait for. */
void vmctl_loop_arm(struct vmctl_loop *loop, double at)
{
    if (loop->armed > at || (isinf(at) && !isinf(loop->armed)))
        vmctl_loop_set_tick(loop, at);
}

/* Timers set by the callbacks of this round wait for the next one, so that one that is always due starves no other. */
void vmctl_loop_expire(struct vmctl_loop *loop)
{
    loop->due = false;
    double now = vmctl_loop_now(loop);
    while (loop->timers && loop->heap[0]->at <= now) {
        struct vmctl_timer *t = loop->heap[0];
        vmctl_timer_stop(loop, t);
        t->expired(t);
    }
}
