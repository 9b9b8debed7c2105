/* Memory that libev needs, had while its lack can still be told. */
#ifndef VMCTL_IO_LOOP_ROOM_H
#define VMCTL_IO_LOOP_ROOM_H

#include <ev.h>

/* A loop on epoll, with room for the watchers of 1024 fds: libev allocates nothing more for them. 0, or -ENOMEM, -EMFILE and what
 * else the kernel says of a new epoll fd. */
int vmctl_loop_room_open(struct ev_loop **out);

#endif
