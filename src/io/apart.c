/* Makes a system call in a process of its own, with a limit. */
#include "io/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* Closes other descriptors in the child: a stuck child would keep connections open. */
static void apart_close_others(int fd)
{
    if (fd > 0)
        (void)syscall(SYS_close_range, 0, (unsigned)fd - 1, 0);
    (void)syscall(SYS_close_range, (unsigned)fd + 1, UINT_MAX, 0); /* kernels that have openat2 but not this keep them */
}

static _Noreturn void apart_child(int (*call)(const void *arg), const void *arg, int out)
{
    apart_close_others(out);
    int err = call(arg);
    (void)!write(out, &err, sizeof err);
    _exit(0);
}

static int apart_result(int fd, int seconds)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    int err, ready;

    do
        ready = poll(&p, 1, seconds * 1000);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return ready < 0 ? -errno : -ETIMEDOUT;
    ssize_t n = read(fd, &err, sizeof err);
    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof err ? err : -ECHILD;
}

/* Kills a child and reaps it. One that not even SIGKILL frees from its call within five seconds is left behind, for PID 1 to reap after
 * our end. Several that hang in one folder wait for each other, so a busy machine needs a while. */
static void apart_reap(pid_t pid)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

    kill(pid, SIGKILL);
    for (int left = 500; left > 0 && waitpid(pid, NULL, WNOHANG) == 0; left--)
        nanosleep(&pause, NULL);
}

int vmctl_apart(int (*call)(const void *arg), const void *arg, int seconds)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        apart_child(call, arg, ends[1]);
    int err = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (!err)
        err = apart_result(ends[0], seconds);
    close(ends[0]);
    if (pid > 0)
        apart_reap(pid);
    return err;
}
