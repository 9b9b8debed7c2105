/* Host names to addresses without blocking the loop: a worker thread runs getaddrinfo for each query. A numeric address is answered
 * without a thread. Built with VMCTL_STATIC_RESOLVER (static programs have no name service) there are no threads: "localhost" and
 * /etc/hosts are answered at once, in the same way. */
#ifndef VMCTL_IO_RESOLVE_H
#define VMCTL_IO_RESOLVE_H

#include "io/addr.h"
#include "io/loop.h"

struct vmctl_resolve; /* one query, shared by its owner and its job until both have dropped it */

/* Starts a query. *out_fd becomes readable (eventfd, owned by the query) when it is answered, and stays so until the drop.
 * -EINVAL when `host` is empty. */
int vmctl_resolve_start(struct vmctl_loop *loop, const char *host, uint16_t port, struct vmctl_resolve **out, int *out_fd);

/* After the fd was readable (else -EAGAIN): the number of addresses (at most 64) with *list set, or VMCTL_ERESOLVE / -errno
 * with *text set to the resolver's own reason, a constant. The list lives until the drop. */
int vmctl_resolve_result(struct vmctl_resolve *q, const struct vmctl_addr **list, const char **text);

/* Drops a query, answered or not, and closes its fd: stop watching it first. */
void vmctl_resolve_drop(struct vmctl_resolve *q);

#endif
