/* The Ethernet switch: its ports and its watchers. */
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

enum { SEND_ROOM = 2 * 212992 };      /* bytes in a Unix socket: the most that the kernel allows ordinary users */

static void on_close(struct vmctl_handle *h)
{
    vmctl_switch_close(VMCTL_CONTAINER(h, struct vmctl_switch, handle));
}

void vmctl_switch_init(struct vmctl_switch *sw, struct vmctl_loop *loop, uint64_t seed)
{
    memset(sw, 0, sizeof *sw);
    sw->loop = loop;
    sw->macs.age = VMCTL_SWITCH_AGE;
    sw->delayed_max = sw->queued_max = VMCTL_SWITCH_MEMORY;
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
    vmctl_switch_delay_forget(sw, NULL);
    free(sw->delayed);
    sw->delayed = NULL;
    sw->delayed_size = 0;
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
    p->pair = pair;
    vmctl_switch_read_init(p);
    vmctl_buf_init(&p->part, VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX);
    vmctl_switch_send_init(p);
    sw->port[index] = p;
    if (index >= sw->ports)
        sw->ports = index + 1;
    *out = p;
    return 0;
}

/* Enlarges the socket's buffer, for a descriptor from elsewhere. Other kinds refuse it, or tune themselves (TCP). */
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
        vmctl_switch_read_first(p, read, len);
    return 0;
}

void vmctl_switch_remove(struct vmctl_switch_port *p)
{
    struct vmctl_switch *sw = p->sw;
    vmctl_switch_detach(p, VMCTL_ECLOSED);
    vmctl_mac_forget(&sw->macs, p->index); /* frames may have been injected here without a connection */
    vmctl_switch_delay_forget(sw, p);
    vmctl_switch_hold_end(p);
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *other = sw->port[i];
        if (other && other != p) { /* another port may get its number soon */
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
