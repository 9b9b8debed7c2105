/* libev ends the process when it has no memory for a table that must grow. So its tables grow as the loop opens, after a look
 * whether there is that much memory. A hook for its allocator would be one for all loops of the host program. */
#include "io/loop_room.h"

#include <errno.h>
#include <stdlib.h>

enum {
    ROOM_FDS = 1024,         /* as many as the usual limit lets a process have; for a higher number libev grows its tables itself */
    ROOM_BYTES = 192 * 1024, /* more than the tables take, with an old and a new one side by side */
};

static void on_nothing(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev, (void)w, (void)events;
}

/* Makes the tables of fds, of changed fds and of pending events grow. There is no poll in between: the kernel is not told of these
 * fds. */
static void room_make(struct ev_loop *ev, ev_io *watchers)
{
    for (int fd = 0; fd < ROOM_FDS; fd++) {
        ev_io_init(&watchers[fd], on_nothing, fd, EV_READ);
        ev_io_start(ev, &watchers[fd]);
        ev_feed_event(ev, &watchers[fd], EV_READ);
    }
    ev_invoke_pending(ev);
    for (int fd = 0; fd < ROOM_FDS; fd++)
        ev_io_stop(ev, &watchers[fd]);
}

int vmctl_loop_room_open(struct ev_loop **out)
{
    ev_io *watchers = malloc(ROOM_FDS * sizeof *watchers);
    void *room = malloc(ROOM_BYTES);
    free(room);
    errno = ENOMEM;
    /* Never the default loop: that one takes SIGCHLD. NOENV: the host's environment does not choose our back end. */
    struct ev_loop *ev = watchers && room ? ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL) : NULL;
    int err = ev ? 0 : -errno;
    if (ev)
        room_make(ev, watchers);
    free(watchers);
    if (!err)
        *out = ev;
    return err;
}
