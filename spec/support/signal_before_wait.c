/* Stands before the C library (LD_PRELOAD): once the file SIGNAL_BEFORE_WAIT is there, a SIGINT comes in the instant before the
 * loop waits, after all that it looks at first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static void come(int timeout)
{
    static bool came;
    const char *file = getenv("SIGNAL_BEFORE_WAIT");
    if (came || timeout == 0 || !file || access(file, F_OK) != 0)
        return;
    came = true;
    raise(SIGINT);
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
    int (*real)(int, struct epoll_event *, int, int);
    *(void **)&real = dlsym(RTLD_NEXT, "epoll_wait");
    come(timeout);
    return real(fd, events, most, timeout);
}

int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout, const sigset_t *mask)
{
    int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
    *(void **)&real = dlsym(RTLD_NEXT, "epoll_pwait");
    come(timeout);
    return real(fd, events, most, timeout, mask);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    int (*real)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    *(void **)&real = dlsym(RTLD_NEXT, "ppoll");
    come(timeout && !timeout->tv_sec && !timeout->tv_nsec ? 0 : -1);
    return real(fds, count, timeout, mask);
}

/* The same where time_t has 64 bits and long has 32: a timespec is three times four bytes and padding there. */
int __ppoll64(struct pollfd *fds, nfds_t count, const long *timeout, const sigset_t *mask);

int __ppoll64(struct pollfd *fds, nfds_t count, const long *timeout, const sigset_t *mask)
{
    int (*real)(struct pollfd *, nfds_t, const long *, const sigset_t *);
    *(void **)&real = dlsym(RTLD_NEXT, "__ppoll64");
    come(timeout && !timeout[0] && !timeout[1] && !timeout[2] ? 0 : -1);
    return real(fds, count, timeout, mask);
}
