/* Holds back senders of a switch, that is does not read them, because a port's queue has many of their bytes. A sender that sends to
 * this port alone waits for as long as the port makes progress; one that sends to others as well waits for a bounded part of its time
 * only, and then loses frames that do not fit. Other senders never wait. */
#include "io/switch.h"

#include <math.h>

static const double HOLD_GRACE = 0.25;  /* seconds in which a port must take HOLD_PROGRESS bytes to hold senders back */
static const double HOLD_REFILL = 0.04;    /* seconds of budget that come back each second */
static const double HOLD_AGAIN = 0.02;     /* seconds of budget with which a share that loses may hold back again */

enum {
    HOLD_PROGRESS = 64 * 1024,
    HOLD_ALONE = 1024 * 1024    /* a sender whose last so many bytes went to one port sends to that one alone */
};

/* Starts or stops reading a port by its `held` and `paused`. */
static void read_or_not(struct vmctl_switch_port *p)
{
    if (p->fd < 0)
        return;
    if (p->held || p->paused)
        vmctl_io_stop(p->sw->loop, &p->rio);
    else
        vmctl_io_start(p->sw->loop, &p->rio);
}

void vmctl_switch_pause(struct vmctl_switch_port *p)
{
    p->paused = true;
    read_or_not(p);
}

void vmctl_switch_resume(struct vmctl_switch *sw)
{
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *p = sw->port[i];
        if (p && p->paused) {
            p->paused = false;
            read_or_not(p);
        }
    }
}

static bool sends_only_to(const struct vmctl_switch_port *from, const struct vmctl_switch_port *to)
{
    return from->last_to == to->index && from->streak >= HOLD_ALONE;
}

/* Half of an equal share of the queue. */
static size_t high_water(const struct vmctl_switch_port *to)
{
    return to->queue_max / (to->senders > 1 ? to->senders : 1) / 2;
}

void vmctl_switch_progress(struct vmctl_switch_port *to)
{
    if (to->senders && to->sent - to->mark < HOLD_PROGRESS)
        return;
    to->mark = to->sent;
    to->progress_at = vmctl_loop_now(to->sw->loop);
}

static void refill(struct vmctl_switch_share *s, double now)
{
    s->budget = fmin(VMCTL_SWITCH_BUDGET, s->budget + (now - s->budget_at) * HOLD_REFILL);
    s->budget_at = now;
}

double vmctl_switch_hold_until(const struct vmctl_switch_share *s, const struct vmctl_switch_port *from)
{
    double grace_end = s->to->progress_at + HOLD_GRACE;
    return sends_only_to(from, s->to) ? grace_end : fmin(grace_end, s->since + s->budget);
}

void vmctl_switch_lose(struct vmctl_switch_share *s)
{
    s->losing = true;
    s->lost_at = s->to->sent;
}

/* Tells if a share may hold back its sender: a losing one only when its port has taken bytes since, and its sender has time left. */
static bool may_hold(struct vmctl_switch_share *s, const struct vmctl_switch_port *from, double now)
{
    refill(s, now);
    if (now - s->to->progress_at >= HOLD_GRACE)
        return false;
    if (s->losing && s->to->sent - s->lost_at < HOLD_PROGRESS)
        return false;
    return s->budget >= HOLD_AGAIN || sends_only_to(from, s->to);
}

void vmctl_switch_consider(struct vmctl_switch_port *from, struct vmctl_switch_port *to)
{
    struct vmctl_switch *sw = to->sw;
    struct vmctl_switch_share *s = to->share[from->index];
    bool sole = sends_only_to(from, to); /* it is held back early: frames that are not read are not copied */
    size_t most = sole ? 0 : high_water(to);
    if (!s || s->holds || vmctl_buf_len(&s->q) <= most)
        return;
    double now = vmctl_loop_now(sw->loop);
    if (!may_hold(s, from, now)) {
        if (!s->losing)
            vmctl_switch_lose(s);
        return;
    }
    s->losing = false;
    s->holds = true;
    s->low = most / 2;
    s->since = now;
    vmctl_list_append(&sw->holds, &s->hold);
    from->held++;
    read_or_not(from);
    double end = vmctl_switch_hold_until(s, from);
    if (!sw->hold_timer.slot || sw->hold_timer.at > end)
        vmctl_timer_set(sw->loop, &sw->hold_timer, end);
}

void vmctl_switch_release(struct vmctl_switch_share *s)
{
    if (!s->holds)
        return;
    struct vmctl_switch *sw = s->to->sw;
    struct vmctl_switch_port *from = sw->port[s->from];
    double now = vmctl_loop_now(sw->loop);
    s->holds = false;
    vmctl_list_remove(&s->hold);
    if (!sends_only_to(from, s->to))
        s->budget = fmax(0, s->budget - (now - s->since));
    s->budget_at = now;
    from->held--;
    read_or_not(from);
}

void vmctl_switch_hold_end(struct vmctl_switch_port *from)
{
    struct vmctl_switch *sw = from->sw;
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_share *s = sw->port[i] ? sw->port[i]->share[from->index] : NULL;
        if (!s)
            continue;
        vmctl_switch_release(s);
        s->losing = false;
        s->budget = VMCTL_SWITCH_BUDGET;
    }
}
