/* A listening socket: the queue of accepting tasks, and the pause when fds run out. */
#ifndef VMCTL_IO_LISTENER_H
#define VMCTL_IO_LISTENER_H

#include "io/addr.h"
#include "io/loop.h"
#include "io/wait.h"

struct vmctl_listener {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    int fd;
    ev_io rio;
    struct vmctl_timer nap;     /* out of fds or memory: the backlog is looked at again a little later */
    struct vmctl_waitq waiters;
    struct vmctl_addr address;
    dev_t dev;                  /* of a Unix socket's file, which is removed at the end if it is still ours */
    ino_t ino;
    int lack;                   /* -EMFILE, -ENFILE, -ENOMEM ... while it naps because of that; else 0 */
};

void vmctl_listener_init(struct vmctl_listener *l, struct vmctl_loop *loop);

/* Takes a listening fd. */
void vmctl_listener_open(struct vmctl_listener *l, int fd);

/* Makes `close` remove the file of its Unix socket, if that is still the same file then. */
void vmctl_listener_own_file(struct vmctl_listener *l);

/* One accept. 0 and the fd, -EAGAIN (wait in l->waiters after vmctl_listener_want), or an error. */
int vmctl_listener_accept(struct vmctl_listener *l, int *out_fd, struct vmctl_addr *peer);
void vmctl_listener_want(struct vmctl_listener *l);

/* Stops listening, removes the socket file, wakes the waiters with ECLOSED. Idempotent. */
void vmctl_listener_close(struct vmctl_listener *l);

#endif
