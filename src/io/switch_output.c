/* The output of a switch: sends frames from the memory where they were read, and copies only those that have to wait. */
#include "io/switch.h"

#include "io/sysio.h"

#include <errno.h>
#include <math.h>

static void on_writable(struct ev_loop *ev, ev_io *w, int events);

void vmctl_switch_send_init(struct vmctl_switch_port *p)
{
    ev_init(&p->wio, on_writable);
    p->queue_max = VMCTL_SWITCH_QUEUE;
    vmctl_list_init(&p->turns);
}

/* Queues the rest of a run of which the first `sent` bytes are sent. False: a frame is partly sent and there is no memory for the rest. */
static bool queue_rest(struct vmctl_switch_port *p, int from, const struct iovec *run, size_t sent)
{
    const uint8_t *at = run->iov_base;
    size_t pos = 0;
    while (pos < sent)
        pos += VMCTL_ETHER_HEAD + vmctl_ether_length(at + pos);
    if (pos > sent && vmctl_switch_enqueue_rest(p, from, at + sent, pos - sent) != 0)
        return false;
    if (pos < run->iov_len)
        vmctl_switch_enqueue_run(p, from, at + pos, run->iov_len - pos);
    return true;
}

/* Sends the port's runs; bytes that the kernel does not take go to its queue, which was empty. */
void vmctl_switch_send(struct vmctl_switch_port *p)
{
    int runs = p->runs;
    p->runs = 0;
    if (!runs || p->fd < 0)
        return;
    ssize_t put = vmctl_switch_write(p, p->run, runs);
    if (put == -EAGAIN || put == -ENOBUFS || put == -ENOMEM)
        put = 0;
    bool whole = put >= 0;
    size_t sent = put > 0 ? (size_t)put : 0;
    for (int i = 0; whole && i < runs; i++) {
        size_t len = p->run[i].iov_len;
        if (sent < len)
            whole = queue_rest(p, p->run_from[i], &p->run[i], sent);
        sent -= sent < len ? sent : len;
    }
    if (!whole)
        vmctl_switch_detach(p, put < 0 ? (int)put : -ENOMEM);
}

static void touch(struct vmctl_switch_port *p)
{
    if (p->touched)
        return;
    p->touched = true;
    p->sw->touched[p->sw->ntouched++] = p->index;
}

void vmctl_switch_put(struct vmctl_switch_port *p, int from, const uint8_t *at, size_t total, size_t frames)
{
    if (p->fd < 0) {
        p->count.dropped_full += frames;
        return;
    }
    touch(p);
    p->count.frames_out += frames;
    p->count.bytes_out += total - frames * VMCTL_ETHER_HEAD;
    struct iovec *last = p->runs ? &p->run[p->runs - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == at && p->run_from[p->runs - 1] == from) {
        last->iov_len += total;
        return;
    }
    if (p->runs == VMCTL_SWITCH_RUNS)
        vmctl_switch_send(p);
    if (p->fd < 0)
        return;
    if (p->senders) {
        vmctl_switch_enqueue_run(p, from, at, total);
        return;
    }
    p->run_from[p->runs] = from;
    p->run[p->runs++] = (struct iovec){ (void *)at, total };
}

void vmctl_switch_flush(struct vmctl_switch *sw, struct vmctl_switch_port *from)
{
    for (int i = 0; i < sw->ntouched; i++) {
        struct vmctl_switch_port *p = sw->port[sw->touched[i]];
        if (!p)
            continue;
        p->touched = false;
        vmctl_switch_send(p);
        if (from && p->fd >= 0)
            vmctl_switch_consider(from, p);
    }
    sw->ntouched = 0;
}

static void port_drain(struct vmctl_switch_port *p)
{
    int err = vmctl_switch_drain(p);
    if (err)
        vmctl_switch_detach(p, err);
}

static void on_writable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_switch_port *p = VMCTL_CONTAINER(w, struct vmctl_switch_port, wio);
    int failed = vmctl_io_failed(p->sw->loop, w, events);
    if (!failed)
        port_drain(p);
    else if (failed != -EAGAIN)
        vmctl_switch_detach(p, failed);
}

/* Ends a hold whose time is over. The port is tried once more before: perhaps it was we who had no time. */
static void hold_over(struct vmctl_switch_share *s, double now)
{
    struct vmctl_switch_port *to = s->to;
    int index = s->from;
    port_drain(to);
    s = to->share[index]; /* the port may have ended by that */
    if (!s || !s->holds || vmctl_switch_hold_until(s, to->sw->port[index]) > now)
        return;
    vmctl_switch_release(s);
    vmctl_switch_lose(s);
}

void vmctl_switch_on_hold_over(struct vmctl_timer *t)
{
    struct vmctl_switch *sw = VMCTL_CONTAINER(t, struct vmctl_switch, hold_timer);
    double now = vmctl_loop_now(sw->loop), next = INFINITY;
    for (struct vmctl_list *n = sw->holds.next; n != &sw->holds;) {
        struct vmctl_switch_share *s = VMCTL_CONTAINER(n, struct vmctl_switch_share, hold);
        double end = vmctl_switch_hold_until(s, sw->port[s->from]);
        if (end <= now) {
            hold_over(s, now);
            n = sw->holds.next; /* others may have gone as well */
            next = INFINITY;
            continue;
        }
        next = fmin(next, end);
        n = n->next;
    }
    if (!isinf(next))
        vmctl_timer_set(sw->loop, &sw->hold_timer, next);
}
