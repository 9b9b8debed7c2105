/* A listening socket on the loop: wakes accepting tasks, and pauses when descriptors run out. */
#include "io/listener.h"

#include "io/socket.h"
#include "wire/error.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static const double LISTENER_NAP = 0.1;

static void on_connection(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_listener *l = VMCTL_CONTAINER(w, struct vmctl_listener, rio);
    int failed = vmctl_io_failed(l->loop, w, events);
    if (failed && failed != -EAGAIN)
        vmctl_wake_all(&l->waiters, failed);
    else if (!failed && !vmctl_wake_one(&l->waiters, 0))
        vmctl_io_stop(l->loop, w); /* no task accepts: the connection stays in the backlog */
}

static void on_nap_over(struct vmctl_timer *t)
{
    struct vmctl_listener *l = VMCTL_CONTAINER(t, struct vmctl_listener, nap);
    l->lack = 0;
    if (vmctl_waitq_busy(&l->waiters))
        vmctl_io_start(l->loop, &l->rio);
}

static void on_close(struct vmctl_handle *h)
{
    vmctl_listener_close(VMCTL_CONTAINER(h, struct vmctl_listener, handle));
}

void vmctl_listener_init(struct vmctl_listener *l, struct vmctl_loop *loop)
{
    *l = (struct vmctl_listener){ .loop = loop, .fd = -1 };
    l->handle.close = on_close;
    l->nap.expired = on_nap_over;
    vmctl_list_init(&l->handle.link);
    vmctl_waitq_init(&l->waiters);
    ev_init(&l->rio, on_connection);
}

static const char *listener_path(const struct vmctl_listener *l)
{
    const struct vmctl_addr *a = &l->address;
    return a->u.sa.sa_family == AF_UNIX && a->u.un.sun_path[0] ? a->u.un.sun_path : NULL;
}

void vmctl_listener_open(struct vmctl_listener *l, int fd)
{
    l->fd = fd;
    ev_io_set(&l->rio, fd, EV_READ);
    vmctl_handle_add(l->loop, &l->handle);
    if (vmctl_socket_local(fd, &l->address) != 0)
        l->address = (struct vmctl_addr){ 0 };
}

void vmctl_listener_own_file(struct vmctl_listener *l)
{
    struct stat st;
    const char *path = listener_path(l);
    if (path && lstat(path, &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
}

int vmctl_listener_accept(struct vmctl_listener *l, int *out_fd, struct vmctl_addr *peer)
{
    if (l->fd < 0)
        return VMCTL_ECLOSED;
    if (l->nap.slot)
        return -EAGAIN;
    int err = vmctl_socket_accept(l->fd, out_fd, peer);
    if (err != -EMFILE && err != -ENFILE && err != -ENOMEM && err != -ENOBUFS)
        return err;
    l->lack = err;
    vmctl_io_stop(l->loop, &l->rio);
    err = vmctl_timer_set(l->loop, &l->nap, vmctl_loop_now(l->loop) + LISTENER_NAP);
    return err ? err : -EAGAIN;
}

void vmctl_listener_want(struct vmctl_listener *l)
{
    if (!l->nap.slot)
        vmctl_io_start(l->loop, &l->rio);
}

void vmctl_listener_close(struct vmctl_listener *l)
{
    if (l->fd < 0)
        return;
    struct stat st;
    const char *path = listener_path(l);
    if (vmctl_loop_is_ours(l->loop) && path && l->ino && lstat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(path);
    vmctl_io_stop(l->loop, &l->rio);
    vmctl_timer_stop(l->loop, &l->nap);
    vmctl_list_remove(&l->handle.link);
    vmctl_io_close(l->loop, l->fd);
    l->fd = -1;
    vmctl_wake_all(&l->waiters, VMCTL_ECLOSED);
}
