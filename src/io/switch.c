/* The Ethernet switch: its ports, and what is read from them. */
#include "io/switch.h"

#include "io/sysio.h"
#include "wire/error.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_LEAST = 64 * 1024 }; /* bytes of one read: the most is VMCTL_SCRATCH */
enum { SEND_ROOM = 2 * 212992 };      /* bytes in a Unix socket: what the kernel allows everybody to ask for */

static void on_readable(struct ev_loop *ev, ev_io *w, int events);

static void on_close(struct vmctl_handle *h)
{
    vmctl_switch_close(VMCTL_CONTAINER(h, struct vmctl_switch, handle));
}

void vmctl_switch_init(struct vmctl_switch *sw, struct vmctl_loop *loop, uint64_t seed)
{
    memset(sw, 0, sizeof *sw);
    sw->loop = loop;
    sw->macs.age = VMCTL_SWITCH_AGE;
    sw->held_max = sw->queued_max = VMCTL_SWITCH_MEMORY;
    sw->handle.close = on_close;
    sw->release.expired = vmctl_switch_on_release;
    sw->hold_timer.expired = vmctl_switch_on_hold_over;
    vmctl_list_init(&sw->holds);
    sw->seed = seed;
    sw->mirror = -1;
    vmctl_waitq_init(&sw->news);
    vmctl_list_init(&sw->handle.link);
    vmctl_handle_add(loop, &sw->handle);
}

void vmctl_switch_close(struct vmctl_switch *sw)
{
    for (int i = 0; i < sw->ports; i++) {
        if (sw->port[i])
            vmctl_switch_remove(sw->port[i]);
    }
    while (sw->watchers) {
        struct vmctl_switch_watcher *w = sw->watchers;
        sw->watchers = w->next;
        w->over(w);
    }
    vmctl_switch_hold_forget(sw, NULL);
    free(sw->held);
    sw->held = NULL;
    sw->held_size = 0;
    vmctl_timer_stop(sw->loop, &sw->release);
    vmctl_timer_stop(sw->loop, &sw->hold_timer);
    vmctl_list_remove(&sw->handle.link);
    vmctl_wake_all(&sw->news, VMCTL_ECLOSED);
}

/* Ports */

int vmctl_switch_add(struct vmctl_switch *sw, const char *name, struct vmctl_switch_port **out)
{
    int index = 0;
    while (index < VMCTL_SWITCH_PORTS && sw->port[index])
        index++;
    if (index == VMCTL_SWITCH_PORTS)
        return -ENOSPC;
    struct vmctl_switch_port *p = calloc(1, sizeof *p);
    struct vmctl_switch_pair *pair = calloc(VMCTL_SWITCH_PORTS, sizeof *pair);
    if (!p || !pair) {
        free(p);
        free(pair);
        return -ENOMEM;
    }
    p->sw = sw;
    p->index = index;
    p->serial = ++sw->port_serial;
    snprintf(p->name, sizeof p->name, "%s", name);
    p->fd = -1;
    p->ended = VMCTL_ECLOSED;
    p->last_to = -1;
    p->longest = VMCTL_SWITCH_LONGEST;
    p->room = READ_LEAST;
    p->pair = pair;
    ev_init(&p->rio, on_readable);
    vmctl_buf_init(&p->part, VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX);
    vmctl_switch_send_init(p);
    sw->port[index] = p;
    if (index >= sw->ports)
        sw->ports = index + 1;
    *out = p;
    return 0;
}

static void port_forward_all(struct vmctl_switch_port *p, const uint8_t *at, size_t len);

/* For a descriptor from elsewhere. What it is not for is refused, or known to the kernel better (TCP). */
static void port_tune(int fd)
{
    int on = 1, room = 0, domain = 0;
    socklen_t len = sizeof room, domain_len = sizeof domain;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) < 0 || domain != AF_UNIX)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len) == 0 && room < SEND_ROOM) {
        room = SEND_ROOM / 2; /* the kernel doubles it */
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    }
}

int vmctl_switch_attach(struct vmctl_switch_port *p, enum vmctl_port_kind kind, int fd, const void *read, size_t len)
{
    struct vmctl_switch *sw = p->sw;
    port_tune(fd);
    p->fd = fd;
    p->kind = kind;
    p->ended = 0;
    p->complained = false;
    ev_io_set(&p->rio, fd, EV_READ);
    ev_io_set(&p->wio, fd, EV_WRITE);
    vmctl_io_start(sw->loop, &p->rio);
    if (len)
        port_forward_all(p, read, len);
    return 0;
}

void vmctl_switch_remove(struct vmctl_switch_port *p)
{
    struct vmctl_switch *sw = p->sw;
    vmctl_switch_detach(p, VMCTL_ECLOSED);
    vmctl_mac_forget(&sw->macs, p->index); /* frames may have been injected here without a connection */
    vmctl_switch_hold_forget(sw, p);
    vmctl_switch_hold_end(p);
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *other = sw->port[i];
        if (other && other != p) { /* its place may be another's soon */
            vmctl_switch_fault_drop(other->pair[p->index].fault);
            memset(&other->pair[p->index], 0, sizeof other->pair[p->index]);
        }
        vmctl_switch_fault_drop(p->pair[i].fault);
    }
    sw->port[p->index] = NULL;
    if (sw->mirror == p->index)
        sw->mirror = -1;
    while (sw->ports && !sw->port[sw->ports - 1])
        sw->ports--;
    vmctl_switch_fault_drop(p->from);
    vmctl_switch_fault_drop(p->to);
    free(p->pair);
    free(p);
}

void vmctl_switch_watch(struct vmctl_switch *sw, struct vmctl_switch_watcher *w)
{
    w->next = sw->watchers;
    sw->watchers = w;
    sw->noting |= w->wants_notes;
    sw->taking |= w->take != NULL;
}

void vmctl_switch_unwatch(struct vmctl_switch *sw, struct vmctl_switch_watcher *w)
{
    struct vmctl_switch_watcher **p = &sw->watchers;
    while (*p && *p != w)
        p = &(*p)->next;
    if (*p)
        *p = w->next;
    sw->noting = sw->taking = false;
    for (const struct vmctl_switch_watcher *left = sw->watchers; left; left = left->next) {
        sw->noting |= left->wants_notes;
        sw->taking |= left->take != NULL;
    }
}

/* Reading */

static void refuse_frame(struct vmctl_switch_port *p)
{
    p->count.invalid++;
    if (p->complained)
        return;
    p->complained = true;
    vmctl_switch_tell(p->sw, VMCTL_TOLD_NEWS);
}

/* All whole frames of the input; how many bytes they took, or VMCTL_ETOOBIG. Lengths that QEMU would choke on (0 stops a
 * virtio-net for good) are left out. */
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

static void port_forward_all(struct vmctl_switch_port *p, const uint8_t *in, size_t len)
{
    switch_begin(p->sw);
    ssize_t used = forward_frames(p, in, len);
    int err = used < 0 ? (int)used : vmctl_buf_append(&p->part, in + used, len - (size_t)used);
    switch_end(p->sw, p);
    if (err)
        vmctl_switch_detach(p, err);
}

/* Large reads cost less, unless what is read has to be kept for its receiver. */
static void port_adapt(struct vmctl_switch_port *p, bool was_filled)
{
    if (p->held)
        p->room = READ_LEAST;
    else if (was_filled && p->room < VMCTL_SCRATCH)
        p->room *= 2;
}

/* The rest of the last read is moved to the front, so that every frame is contiguous. */
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
    port_forward_all(p, scratch, held + (size_t)got);
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
