/* Datagram ports of a switch. A socket is connected to its peer, so that it becomes writable when the peer has room again. */
#include "io/switch_datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAM_READS = 64 };

static const double DATAGRAM_LOOK = 1; /* seconds */

static const char MAGIC[] = { 'V', 'F', 'K', 'T' }; /* the first datagram of vfkit and krunkit: no frame */

bool vmctl_switch_datagrams_has_path(const struct vmctl_addr *a)
{
    return a->u.sa.sa_family == AF_UNIX && a->len > offsetof(struct sockaddr_un, sun_path) && a->u.un.sun_path[0];
}

static bool same_address(const struct vmctl_addr *a, const struct vmctl_addr *b)
{
    return a->len == b->len && memcmp(&a->u, &b->u, a->len) == 0;
}

/* Disconnects the socket from its peer: it takes datagrams from everybody again, and sends none. */
static void disconnect(struct vmctl_switch_port *p)
{
    const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
    (void)connect(p->fd, &nobody, sizeof nobody);
    p->datagrams->known = false;
    if (!p->datagrams->given)
        p->datagrams->remote.len = 0;
}

/* Connects to the peer, also to a new process at the same address. */
static void look_for_peer(struct vmctl_switch_port *p)
{
    struct vmctl_switch_datagrams *d = p->datagrams;
    if (!d->remote.len)
        return;
    d->known = connect(p->fd, &d->remote.u.sa, d->remote.len) == 0;
    if (!d->known)
        disconnect(p);
}

void vmctl_switch_datagrams_look(struct vmctl_switch_datagrams *d)
{
    struct vmctl_switch_port *p = d->port;
    look_for_peer(p);
    (void)vmctl_timer_set(p->sw->loop, &d->look, vmctl_loop_now(p->sw->loop) + DATAGRAM_LOOK);
}

/* Tells if a datagram from this address is the peer's. */
static bool accept_from(struct vmctl_switch_port *p, const struct vmctl_addr *from)
{
    struct vmctl_switch_datagrams *d = p->datagrams;
    if (d->known)
        return true; /* the kernel has checked it */
    if (d->given && !same_address(from, &d->remote))
        return false;
    d->remote = *from;
    look_for_peer(p); /* one without an address can only send */
    return true;
}

static bool is_soft(int err)
{
    return err == ECONNREFUSED || err == ECONNRESET || err == EINTR || err == EHOSTUNREACH || err == ENETUNREACH;
}

ssize_t vmctl_switch_datagram_read(struct vmctl_switch_port *p, uint8_t *room, size_t size)
{
    size_t at = 0;
    for (int n = 0; n < DATAGRAM_READS && size - at >= VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX; n++) {
        struct vmctl_addr from = { .len = sizeof from.u };
        uint8_t *frame = room + at + VMCTL_ETHER_HEAD;
        ssize_t got = recvfrom(p->fd, frame, VMCTL_ETHER_MAX, MSG_DONTWAIT | MSG_TRUNC, &from.u.sa, &from.len);
        if (got < 0 && !is_soft(errno))
            return at ? (ssize_t)at : -errno;
        if (got < 0 || !accept_from(p, &from) || (got == sizeof MAGIC && memcmp(frame, MAGIC, sizeof MAGIC) == 0))
            continue;
        if (got > VMCTL_ETHER_MAX) { /* cut */
            p->count.invalid++;
            continue;
        }
        vmctl_ether_put_length(room + at, (uint32_t)got);
        at += VMCTL_ETHER_HEAD + (size_t)got;
    }
    return at ? (ssize_t)at : -EAGAIN;
}

ssize_t vmctl_switch_datagram_write(struct vmctl_switch_port *p, const uint8_t *frame, size_t len)
{
    if (!p->datagrams->known)
        return -EIO; /* lost, as with an interface that is down */
    ssize_t put = send(p->fd, frame, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put >= 0)
        return put;
    int err = errno;
    if (err == EAGAIN || err == ENOBUFS || err == ENOMEM)
        return -EAGAIN;
    if ((err == ECONNREFUSED || err == ECONNRESET || err == ENOTCONN) && p->datagrams->local.u.sa.sa_family == AF_UNIX)
        disconnect(p);
    return -EIO;
}

void vmctl_switch_datagrams_end(struct vmctl_switch_port *p)
{
    struct vmctl_switch_datagrams *d = p->datagrams;
    if (!d)
        return;
    p->datagrams = NULL;
    vmctl_timer_stop(p->sw->loop, &d->look);
    if (vmctl_switch_datagrams_has_path(&d->local) && vmctl_loop_is_ours(p->sw->loop))
        unlink(d->local.u.un.sun_path);
    free(d);
}
