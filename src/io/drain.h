/* A drain: the read end of a pipe whose bytes are dropped, so that processes that still write to it live on. */
#ifndef VMCTL_IO_DRAIN_H
#define VMCTL_IO_DRAIN_H

#include "io/loop.h"

enum { VMCTL_DRAINS = 1024 }; /* of a loop; beyond, the oldest is closed and its writers get SIGPIPE */

/* Takes a non-blocking fd and closes it at its end. When the loop goes before, a process of its own (cat) reads on.
 * 1: a process can still write to it; 0: it has ended and is closed; -errno: it stays the caller's. */
int vmctl_drain_start(struct vmctl_loop *loop, int fd);

#endif
