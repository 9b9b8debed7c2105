/* Reads and drops the bytes of pipes, so that processes that still write to them live on. */
#include "io/drain.h"

#include "io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct drain {
    struct vmctl_handle handle;
    struct vmctl_list link; /* among the loop's drains, the oldest first */
    struct vmctl_loop *loop;
    ev_io rio;
};

static void drain_free(struct drain *d)
{
    ev_ref(d->loop->ev);
    vmctl_io_stop(d->loop, &d->rio);
    vmctl_list_remove(&d->handle.link);
    vmctl_list_remove(&d->link);
    d->loop->ndrains--;
    vmctl_io_close(d->loop, d->rio.fd);
    free(d);
}

/* Reads the present bytes, at most as many as a pipe can hold. False: it has ended. */
static bool drain_read(struct vmctl_loop *loop, int fd)
{
    ssize_t got;
    do
        got = read(fd, loop->scratch, VMCTL_SCRATCH);
    while (got < 0 && errno == EINTR);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

static void on_output(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct drain *d = VMCTL_CONTAINER(w, struct drain, rio);
    int failed = vmctl_io_failed(d->loop, w, events);
    if (failed == -EAGAIN)
        return;
    if (failed || !drain_read(d->loop, w->fd))
        drain_free(d);
}

/* The reader outlives us: a shell starts it in the background and ends at once, so that it becomes no zombie. */
static void drain_hand_over(int fd)
{
    static char sh[] = "sh", opt[] = "-c", script[] = "cat <&3 >/dev/null 2>&1 3<&- &", path[] = "PATH=/usr/bin:/bin";
    char *const argv[] = { sh, opt, script, NULL }, *const env[] = { path, NULL };
    const struct vmctl_spawn how = { .file = "/bin/sh", .argv = argv, .env = env, .fds = { -1, -1, -1, fd }, .nfds = 4, .tty = -1, .cgroup = -1,
                                     .session = true };
    const char *step;
    pid_t pid;
    int pidfd;
    /* cat takes a read that would block for an error */
    if (fcntl(fd, F_SETFL, 0) < 0 || vmctl_spawn_start(&how, &pid, &pidfd, &step) != 0)
        return;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (pidfd >= 0)
        close(pidfd);
}

static void on_close(struct vmctl_handle *h)
{
    struct drain *d = VMCTL_CONTAINER(h, struct drain, handle);
    struct pollfd p = { .fd = d->rio.fd, .events = POLLIN };
    poll(&p, 1, 0);
    if (!(p.revents & POLLHUP) && vmctl_loop_is_ours(d->loop))
        drain_hand_over(d->rio.fd);
    drain_free(d);
}

int vmctl_drain_start(struct vmctl_loop *loop, int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (poll(&p, 1, 0) < 0)
        return -errno;
    if (p.revents & (POLLHUP | POLLERR | POLLNVAL)) { /* no writer is left */
        close(fd);
        return 0;
    }
    struct drain *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->loop = loop;
    d->handle.close = on_close;
    ev_io_init(&d->rio, on_output, fd, EV_READ);
    if (loop->ndrains == VMCTL_DRAINS)
        drain_free(VMCTL_CONTAINER(loop->drains.next, struct drain, link));
    vmctl_list_append(&loop->drains, &d->link);
    loop->ndrains++;
    vmctl_handle_add(loop, &d->handle);
    vmctl_io_start(loop, &d->rio);
    ev_unref(loop->ev); /* it alone does not keep the loop waiting */
    // cppcheck-suppress memleak ; the loop's list holds it by its link
    return 1;
}
