/* Sockets before they are streams: connect, listen, accept, the peer's credentials. Nothing here blocks. */
#ifndef VMCTL_IO_SOCKET_H
#define VMCTL_IO_SOCKET_H

#include "io/addr.h"

#include <sys/types.h>

/* Starts to connect. 0: connected. -EINPROGRESS: *out_fd is set, wait until it is writable, then
 * vmctl_socket_finish. -EAGAIN (a Unix listener's backlog is full): no fd; try again later, polling would lie. */
int vmctl_socket_connect(const struct vmctl_addr *a, int *out_fd);

/* The outcome of a connect that was under way (SO_ERROR): 0 or -errno. The fd stays the caller's. */
int vmctl_socket_finish(int fd);

/* Binds and listens. A Unix path is created with `mode` (0: 0600; -EINVAL above 0777) whatever the umask; an existing
 * socket file is replaced only if no process listens on it (else -EADDRINUSE; a live listener sees one short connection), and
 * anything that is not a socket is left alone (-EADDRINUSE). The file stays when the fd is closed. Whether "::" takes IPv4
 * as well is the system's setting (net.ipv6.bindv6only). */
int vmctl_socket_listen(const struct vmctl_addr *a, int backlog, unsigned mode, int *out_fd);

/* 0, -EAGAIN when no connection waits (or a waiting connection broke), or -errno (EMFILE and ENFILE included: the connection stays
 * in the backlog). */
int vmctl_socket_accept(int fd, int *out_fd, struct vmctl_addr *peer);

int vmctl_socket_local(int fd, struct vmctl_addr *out);
int vmctl_socket_peer(int fd, struct vmctl_addr *out);

/* SO_PEERCRED of a Unix socket, -ENOTCONN if it has no peer. -ENOTSUP on any other family: AF_VSOCK answers with pid 0 and
 * uid -1, which has no meaning. */
int vmctl_socket_credentials(int fd, pid_t *pid, uid_t *uid, gid_t *gid);

/* This machine's own CID, by ioctl on /dev/vsock. */
int vmctl_socket_local_cid(uint32_t *out);

int vmctl_socket_pair(int out[2]);

/* Sends a copy of `fd` with one byte over a Unix socket. 0, -EAGAIN when there is no room, or -errno. */
int vmctl_socket_send_fd(int sock, int fd, char byte);

#endif
