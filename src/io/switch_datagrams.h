/* Ports whose frames are datagrams, without lengths: QEMU's `-netdev dgram`, and the unixgram sockets of vfkit and krunkit. */
#ifndef VMCTL_IO_SWITCH_DATAGRAMS_H
#define VMCTL_IO_SWITCH_DATAGRAMS_H

#include "io/addr.h"
#include "io/switch.h"

/* The port's, until its connection ends. */
struct vmctl_switch_datagrams {
    struct vmctl_addr local, remote; /* remote.len 0: the first sender, until it is gone */
    bool given;                      /* the remote address was given */
    bool known;                      /* the socket is connected to it */
    struct vmctl_switch_port *port;
    struct vmctl_timer look;         /* looks for another peer from time to time */
};

/* Binds a socket, mode 0600 if it is a Unix one (a path where nobody listens any more is removed first), and attaches it. `remote`
 * may be NULL for a Unix socket. -EADDRINUSE, -EINVAL, -ENOMEM … */
int vmctl_switch_attach_datagrams(struct vmctl_switch_port *p, const struct vmctl_addr *local, const struct vmctl_addr *remote);

/* True if the address is a path in the file system. */
bool vmctl_switch_datagrams_has_path(const struct vmctl_addr *a);

/* Connects to the peer that is there now, and looks again after a while. */
void vmctl_switch_datagrams_look(struct vmctl_switch_datagrams *d);

/* As vmctl_switch_bare_read and a single write; a lost datagram is written. */
ssize_t vmctl_switch_datagram_read(struct vmctl_switch_port *p, uint8_t *room, size_t size);
ssize_t vmctl_switch_datagram_write(struct vmctl_switch_port *p, const uint8_t *frame, size_t len);

/* The port's connection ends. Its path is removed. */
void vmctl_switch_datagrams_end(struct vmctl_switch_port *p);

#endif
