/* File descriptors and their watchers: handles fds that the kernel refuses to watch, and fds that are closed, which libev does not. */
#include "io/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* libev does not report the error: the same call is made again to get it. And libev takes a watcher that is started again before its next
 * poll for one that the kernel knows already, unless it was set anew. */
int vmctl_io_failed(struct vmctl_loop *loop, ev_io *w, int events)
{
    if (!(events & EV_ERROR))
        return 0;
    ev_io_set(w, w->fd, w->events & (EV_READ | EV_WRITE));
    struct epoll_event e = { 0 };
    if (epoll_ctl(loop->fd, EPOLL_CTL_ADD, w->fd, &e) == 0)
        epoll_ctl(loop->fd, EPOLL_CTL_DEL, w->fd, &e);
    else if (errno != EEXIST)
        return -errno;
    vmctl_io_start(loop, w);
    return -EAGAIN;
}

/* An event of a file that was closed here makes libev open its epoll fd anew: under another number perhaps, and where that
 * fails it ends the process. */
void vmctl_io_forget(const struct vmctl_loop *loop, int fd)
{
    struct epoll_event e = { 0 };
    if (loop->ev && vmctl_loop_is_ours(loop)) /* a fork's child has the same set */
        epoll_ctl(loop->fd, EPOLL_CTL_DEL, fd, &e);
}

void vmctl_io_close(const struct vmctl_loop *loop, int fd)
{
    vmctl_io_forget(loop, fd);
    close(fd);
}
