/* Ports whose descriptor carries bare frames, each a read or a write of its own: a TAP device, a packet socket pair, datagrams. Inside the
 * switch their frames have the length in front as all others. */
#include "io/switch_datagrams.h"

#include "io/sysio.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BARE_READS = 64 }; /* frames at once, so that a busy device does not hold up the loop */

/* Reads frames into `room`, with their lengths. Returns the number of bytes; 0: the end; or an error. */
ssize_t vmctl_switch_bare_read(struct vmctl_switch_port *p, uint8_t *room, size_t size)
{
    if (p->datagrams)
        return vmctl_switch_datagram_read(p, room, size);
    size_t at = 0;
    for (int n = 0; n < BARE_READS && size - at >= VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX; n++) {
        struct iovec iov = { room + at + VMCTL_ETHER_HEAD, VMCTL_ETHER_MAX };
        ssize_t got = vmctl_sys_readv(p->fd, &iov, 1, p->kind == VMCTL_PORT_PACKETS);
        if (got <= 0)
            return at ? (ssize_t)at : got; /* it is told again by the next read */
        vmctl_ether_put_length(room + at, (uint32_t)got);
        at += VMCTL_ETHER_HEAD + (size_t)got;
    }
    return (ssize_t)at;
}

static ssize_t bare_write_once(struct vmctl_switch_port *p, const uint8_t *frame, size_t len)
{
    ssize_t put;
    if (p->datagrams)
        return vmctl_switch_datagram_write(p, frame, len);
    do
        put = p->kind == VMCTL_PORT_PACKETS ? send(p->fd, frame, len, MSG_NOSIGNAL) : write(p->fd, frame, len);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

/* True if the frame was refused, for good or for now, as by an interface that is down: then it counts as lost. */
static bool bare_is_lost(ssize_t err)
{
    return err == -EIO || err == -EINVAL || err == -EMSGSIZE || err == -ENOMEM;
}

static ssize_t bare_write(struct vmctl_switch_port *p, const struct iovec *run, int runs)
{
    size_t taken = 0;
    for (int i = 0; i < runs; i++) {
        const uint8_t *at = run[i].iov_base, *end = at + run[i].iov_len;
        while (at < end) {
            size_t len = vmctl_ether_length(at);
            ssize_t put = bare_write_once(p, at + VMCTL_ETHER_HEAD, len);
            if (bare_is_lost(put))
                p->count.dropped_full++;
            else if (put < 0)
                return taken ? (ssize_t)taken : put;
            taken += VMCTL_ETHER_HEAD + len;
            at += VMCTL_ETHER_HEAD + len;
        }
    }
    return (ssize_t)taken;
}

ssize_t vmctl_switch_write(struct vmctl_switch_port *p, const struct iovec *run, int runs)
{
    return p->kind == VMCTL_PORT_STREAM ? vmctl_sys_writev(p->fd, run, runs, true) : bare_write(p, run, runs);
}
