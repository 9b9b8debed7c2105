/* A network of libslirp's in a thread of its own: its traffic to the outside goes through ordinary sockets of this process. */
#ifndef VMCTL_SLIRP_NET_H
#define VMCTL_SLIRP_NET_H

#include <stdbool.h>

struct vmctl_slirp_options {
    bool restricted;    /* guests reach the network's own services alone: DHCP, and no way out */
    bool host_loopback; /* the gateway's address leads to this machine's loopback */
    bool ipv6;
};

struct vmctl_slirp;

/* Starts the network. *out_fd: a socket that carries frames, a packet each; it is the caller's, and when it is closed the thread
 * ends. -ENOMEM, or an error of socketpair or pthread_create. */
int vmctl_slirp_open(const struct vmctl_slirp_options *opts, struct vmctl_slirp **out, int *out_fd);

/* Ends the thread, waits for that (it never takes long), and frees everything. */
void vmctl_slirp_close(struct vmctl_slirp *s);

#endif
