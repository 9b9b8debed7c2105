/* The output of a switch: sends frames from where they were read, and copies only those that have to wait. */
#include "io/switch.h"

#include "io/sysio.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

/* Seconds for which a full port may hold up those who send to it. A port that takes SEND_PROGRESS bytes in that time is merely
 * slow, and gets it again. */
static const double SEND_GRACE = 0.05;

enum {
    SEND_PROGRESS = 64 * 1024,
    SEND_KEEP = 64 * 1024 /* an empty queue keeps that much memory */
};

static void on_writable(struct ev_loop *ev, ev_io *w, int events);

void vmctl_switch_send_init(struct vmctl_switch_port *p)
{
    ev_init(&p->wio, on_writable);
    p->queue_max = VMCTL_SWITCH_QUEUE;
    vmctl_buf_init(&p->queue, SIZE_MAX / 2); /* bounded by queue_max and the frame that is half out */
}

/* How much of a queue makes those wait who fill it, and how much lets them go on. */
static size_t high_water(const struct vmctl_switch_port *p)
{
    return p->queue_max / 2;
}

static void queue_frame(struct vmctl_switch_port *p, const uint8_t *at, size_t total)
{
    if (vmctl_buf_len(&p->queue) + total > p->queue_max || vmctl_buf_append(&p->queue, at, total) != 0) {
        p->count.dropped_full++;
        p->count.frames_out--;
        p->count.bytes_out -= total - VMCTL_ETHER_HEAD;
    }
}

/* The frames of a run of which the first `sent` bytes are out. False: half a frame is out and there is no memory for the rest. */
static bool queue_rest(struct vmctl_switch_port *p, const struct iovec *run, size_t sent)
{
    const uint8_t *at = run->iov_base;
    size_t pos = 0;
    while (pos < run->iov_len) {
        size_t total = VMCTL_ETHER_HEAD + vmctl_ether_length(at + pos);
        if (pos >= sent)
            queue_frame(p, at + pos, total);
        else if (pos + total > sent && vmctl_buf_append(&p->queue, at + sent, pos + total - sent) != 0)
            return false;
        pos += total;
    }
    return true;
}

static ssize_t port_write(struct vmctl_switch_port *p, const struct iovec *run, int runs)
{
    return p->kind == VMCTL_PORT_STREAM ? vmctl_sys_writev(p->fd, run, runs, true) : vmctl_switch_bare_write(p, run, runs);
}

/* Sends the port's runs; what the kernel does not take goes to its queue, which was empty. */
void vmctl_switch_send(struct vmctl_switch_port *p)
{
    int runs = p->runs;
    p->runs = 0;
    if (!runs || p->fd < 0)
        return;
    ssize_t put = port_write(p, p->run, runs);
    if (put == -EAGAIN || put == -ENOBUFS || put == -ENOMEM)
        put = 0;
    bool whole = put >= 0;
    size_t sent = put > 0 ? (size_t)put : 0;
    for (int i = 0; whole && i < runs; i++) {
        size_t len = p->run[i].iov_len;
        if (sent < len)
            whole = queue_rest(p, &p->run[i], sent);
        sent -= sent < len ? sent : len;
    }
    if (!whole)
        vmctl_switch_detach(p, put < 0 ? (int)put : -ENOMEM);
    else if (vmctl_buf_len(&p->queue))
        vmctl_io_start(p->sw->loop, &p->wio);
}

static void touch(struct vmctl_switch_port *p)
{
    if (p->touched)
        return;
    p->touched = true;
    p->sw->touched[p->sw->ntouched++] = p->index;
}

void vmctl_switch_put(struct vmctl_switch_port *p, const uint8_t *at, size_t total)
{
    if (p->fd < 0) {
        p->count.dropped_full++;
        return;
    }
    touch(p);
    p->count.frames_out++;
    p->count.bytes_out += total - VMCTL_ETHER_HEAD;
    struct iovec *last = p->runs ? &p->run[p->runs - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
        last->iov_len += total;
        return;
    }
    if (p->runs == VMCTL_SWITCH_RUNS)
        vmctl_switch_send(p);
    if (p->fd < 0)
        return;
    if (vmctl_buf_len(&p->queue))
        queue_frame(p, at, total);
    else
        p->run[p->runs++] = (struct iovec){ (void *)at, total };
}

/* Must who sends to it wait? A port that stays full for longer than it may is slow: what does not fit is dropped then. */
static void consider_pause(struct vmctl_switch_port *from, struct vmctl_switch_port *to)
{
    struct vmctl_switch *sw = to->sw;
    if (to->state == VMCTL_PORT_SLOW || vmctl_buf_len(&to->queue) <= high_water(to))
        return;
    if (to->state == VMCTL_PORT_FLOWING) {
        to->state = VMCTL_PORT_FULL;
        to->grace_until = vmctl_loop_now(sw->loop) + SEND_GRACE;
        to->drained = 0;
        if (!sw->grace_timer.slot)
            vmctl_timer_set(sw->loop, &sw->grace_timer, to->grace_until);
    }
    if (from)
        vmctl_switch_pause(from);
}

void vmctl_switch_flush(struct vmctl_switch *sw, struct vmctl_switch_port *from)
{
    for (int i = 0; i < sw->ntouched; i++) {
        struct vmctl_switch_port *p = sw->port[sw->touched[i]];
        if (!p)
            continue;
        p->touched = false;
        vmctl_switch_send(p);
        if (p->fd >= 0)
            consider_pause(from, p);
    }
    sw->ntouched = 0;
}

/* Sends what waits for a port, as far as the kernel takes it. */
static void drain(struct vmctl_switch_port *p)
{
    struct iovec iov = { vmctl_buf_head(&p->queue), vmctl_buf_len(&p->queue) };
    ssize_t put = iov.iov_len ? port_write(p, &iov, 1) : 0;
    if (put == -EAGAIN || put == -ENOBUFS || put == -ENOMEM)
        return;
    if (put < 0) {
        vmctl_switch_detach(p, (int)put);
        return;
    }
    vmctl_buf_consume(&p->queue, (size_t)put);
    p->drained += (size_t)put;
    if (p->state == VMCTL_PORT_FULL && p->drained >= SEND_PROGRESS) {
        p->grace_until = vmctl_loop_now(p->sw->loop) + SEND_GRACE;
        p->drained = 0;
    }
    size_t left = vmctl_buf_len(&p->queue);
    if (!left) {
        vmctl_io_stop(p->sw->loop, &p->wio);
        if (p->queue.cap > SEND_KEEP)
            vmctl_buf_free(&p->queue);
        vmctl_switch_set_state(p, VMCTL_PORT_FLOWING);
    } else if (p->state == VMCTL_PORT_FULL && left <= high_water(p) / 2) {
        vmctl_switch_set_state(p, VMCTL_PORT_FLOWING);
    }
}

void vmctl_switch_on_grace_over(struct vmctl_timer *t)
{
    struct vmctl_switch *sw = VMCTL_CONTAINER(t, struct vmctl_switch, grace_timer);
    double now = vmctl_loop_now(sw->loop), next = INFINITY;
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *p = sw->port[i];
        if (p && p->state == VMCTL_PORT_FULL && p->grace_until <= now)
            drain(p); /* perhaps it was we who had no time */
        if (!p || p->state != VMCTL_PORT_FULL)
            continue;
        if (p->grace_until <= now)
            vmctl_switch_set_state(p, VMCTL_PORT_SLOW);
        else if (p->grace_until < next)
            next = p->grace_until;
    }
    if (!isinf(next))
        vmctl_timer_set(sw->loop, &sw->grace_timer, next);
}

static void on_writable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_switch_port *p = VMCTL_CONTAINER(w, struct vmctl_switch_port, wio);
    int failed = vmctl_io_failed(p->sw->loop, w, events);
    if (!failed)
        drain(p);
    else if (failed != -EAGAIN)
        vmctl_switch_detach(p, failed);
}
