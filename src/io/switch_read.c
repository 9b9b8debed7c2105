/* The input of a switch: reads ports, and forwards whole frames. */
#include "io/switch.h"

#include "io/sysio.h"
#include "wire/error.h"

#include <errno.h>
#include <string.h>

enum { READ_LEAST = 64 * 1024 }; /* bytes of one read: the most is VMCTL_SCRATCH */

static void refuse_frame(struct vmctl_switch_port *p)
{
    p->count.invalid++;
    if (p->complained)
        return;
    p->complained = true;
    vmctl_switch_tell(p->sw, VMCTL_TOLD_NEWS);
}

/* Forwards all whole frames of the input; returns their bytes, or VMCTL_ETOOBIG. Lengths that QEMU cannot handle (0 stops a virtio-net
 * for good) are left out. */
static ssize_t forward_frames(struct vmctl_switch_port *p, const uint8_t *in, size_t len)
{
    size_t at = 0;
    while (len - at >= VMCTL_ETHER_HEAD) {
        size_t size = vmctl_ether_length(in + at);
        if (size > VMCTL_ETHER_MAX) {
            refuse_frame(p);
            return VMCTL_ETOOBIG;
        }
        if (len - at - VMCTL_ETHER_HEAD < size)
            break;
        if (size < VMCTL_ETHER_MIN)
            refuse_frame(p);
        else
            vmctl_switch_forward(p, in + at, size);
        at += VMCTL_ETHER_HEAD + size;
    }
    return (ssize_t)at;
}

static void switch_begin(struct vmctl_switch *sw)
{
    sw->now = vmctl_loop_now(sw->loop);
}

static void switch_end(struct vmctl_switch *sw, struct vmctl_switch_port *from)
{
    vmctl_switch_forward_end(sw);
    vmctl_switch_flush(sw, from);
    for (struct vmctl_switch_watcher *w = sw->watchers, *next; w; w = next) {
        next = w->next;
        if (w->pause && w->pause(w) && from)
            vmctl_switch_pause(from);
    }
}

void vmctl_switch_read_first(struct vmctl_switch_port *p, const uint8_t *in, size_t len)
{
    switch_begin(p->sw);
    ssize_t used = forward_frames(p, in, len);
    int err = used < 0 ? (int)used : vmctl_buf_append(&p->part, in + used, len - (size_t)used);
    switch_end(p->sw, p);
    if (err)
        vmctl_switch_detach(p, err);
}

/* Chooses the size of the next read: large reads cost less, unless the frames have to be kept for their receiver. */
static void port_adapt(struct vmctl_switch_port *p, bool was_filled)
{
    if (p->held)
        p->room = READ_LEAST;
    else if (was_filled && p->room < VMCTL_SCRATCH)
        p->room *= 2;
}

/* Reads behind the rest of the last read, which is moved to the front, so that every frame is contiguous. */
static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_switch_port *p = VMCTL_CONTAINER(w, struct vmctl_switch_port, rio);
    int failed = vmctl_io_failed(p->sw->loop, w, events);
    if (failed) {
        if (failed != -EAGAIN)
            vmctl_switch_detach(p, failed);
        return;
    }
    uint8_t *scratch = p->sw->loop->scratch;
    size_t held = vmctl_buf_len(&p->part);
    size_t room = held < READ_LEAST / 2 ? p->room : VMCTL_SCRATCH; /* a long frame's rest must fit */
    struct iovec iov = { scratch + held, room - held };
    ssize_t got = p->kind == VMCTL_PORT_STREAM ? vmctl_sys_readv(p->fd, &iov, 1, true)
                                               : vmctl_switch_bare_read(p, scratch, VMCTL_SCRATCH);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        vmctl_switch_detach(p, got ? (int)got : VMCTL_EOF);
        return;
    }
    if (held) {
        memcpy(scratch, vmctl_buf_head(&p->part), held);
        vmctl_buf_consume(&p->part, held);
    }
    vmctl_switch_read_first(p, scratch, held + (size_t)got);
    if (p->kind == VMCTL_PORT_STREAM)
        port_adapt(p, held + (size_t)got == room);
}

static int inject(struct vmctl_switch_port *p, const uint8_t *frame, size_t len,
                  void (*forward)(struct vmctl_switch_port *, const uint8_t *, size_t))
{
    if (len < VMCTL_ETHER_MIN || len > VMCTL_ETHER_MAX)
        return -EINVAL;
    uint8_t *at = p->sw->loop->scratch;
    vmctl_ether_put_length(at, (uint32_t)len);
    memcpy(at + VMCTL_ETHER_HEAD, frame, len);
    switch_begin(p->sw);
    forward(p, at, len);
    switch_end(p->sw, NULL);
    return 0;
}

int vmctl_switch_inject(struct vmctl_switch_port *p, const uint8_t *frame, size_t len)
{
    return inject(p, frame, len, vmctl_switch_forward);
}

int vmctl_switch_pass_on(struct vmctl_switch_port *p, const uint8_t *frame, size_t len)
{
    return inject(p, frame, len, vmctl_switch_forward_taken);
}

void vmctl_switch_read_init(struct vmctl_switch_port *p)
{
    ev_init(&p->rio, on_readable);
    p->room = READ_LEAST;
}
