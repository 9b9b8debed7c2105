/* Stands before the C library (LD_PRELOAD): the first REFUSE_TIMES attempts to send fail with the error REFUSE_ERROR. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

static bool refused(void)
{
    static int left = -1, error;
    if (left < 0) {
        const char *times = getenv("REFUSE_TIMES"), *number = getenv("REFUSE_ERROR");
        left = times ? atoi(times) : 0;
        error = number ? atoi(number) : EAGAIN;
    }
    if (left == 0)
        return false;
    left--;
    errno = error;
    return true;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t (*real)(int, const struct msghdr *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "sendmsg");
    return refused() ? -1 : real(fd, message, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t (*real)(int, const struct iovec *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "writev");
    return refused() ? -1 : real(fd, parts, count);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
    ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned);
    *(void **)&real = dlsym(RTLD_NEXT, "splice");
    return refused() ? -1 : real(from, from_at, to, to_at, len, flags);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    ssize_t (*real)(int, const void *, size_t, int);
    *(void **)&real = dlsym(RTLD_NEXT, "send");
    return refused() ? -1 : real(fd, bytes, len, flags);
}
