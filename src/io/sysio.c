/* System calls of reading and writing, repeated after EINTR and without SIGPIPE. */
#include "io/sysio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static ssize_t sys_read_once(int fd, const struct iovec *iov, int n, bool socket)
{
    if (n > 1)
        return readv(fd, iov, n);
    return socket ? recv(fd, iov->iov_base, iov->iov_len, 0) : read(fd, iov->iov_base, iov->iov_len);
}

ssize_t vmctl_sys_readv(int fd, const struct iovec *iov, int n, bool socket)
{
    ssize_t got;
    do
        got = sys_read_once(fd, iov, n, socket);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

void vmctl_sigpipe_block(struct vmctl_sigpipe *g)
{
    sigset_t pipe_only, pending, old;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    g->was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    g->was_blocked = sigismember(&old, SIGPIPE) == 1;
}

void vmctl_sigpipe_restore(const struct vmctl_sigpipe *g, bool raised)
{
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    if (raised && !g->was_pending) { /* ours: take it, so that it never reaches the host program */
        const struct timespec zero = { 0 };
        sigtimedwait(&pipe_only, NULL, &zero);
    }
    if (!g->was_blocked)
        pthread_sigmask(SIG_UNBLOCK, &pipe_only, NULL);
}

static ssize_t sys_send(int fd, const struct iovec *iov, int n)
{
    const struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
    ssize_t put;
    do
        put = n == 1 ? send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL) : sendmsg(fd, &m, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

ssize_t vmctl_sys_writev(int fd, const struct iovec *iov, int n, bool socket)
{
    if (socket)
        return sys_send(fd, iov, n);
    struct vmctl_sigpipe guard;
    vmctl_sigpipe_block(&guard);
    ssize_t put;
    do
        put = writev(fd, iov, n);
    while (put < 0 && errno == EINTR);
    ssize_t result = put < 0 ? -errno : put;
    vmctl_sigpipe_restore(&guard, result == -EPIPE);
    return result;
}

int vmctl_sys_prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}
