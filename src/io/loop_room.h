/* Allocates the memory that libev needs in advance, while a lack of it can still be reported. */
#ifndef VMCTL_IO_LOOP_ROOM_H
#define VMCTL_IO_LOOP_ROOM_H

#include <ev.h>

/* A loop on epoll, with room for the watchers of 1024 fds: libev allocates nothing more for them. 0, or -ENOMEM, -EMFILE and other
 * errors of a new epoll fd. */
int vmctl_loop_room_open(struct ev_loop **out);

#endif
