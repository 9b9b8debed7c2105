/* Stands before the C library (LD_PRELOAD): a terminal's master (ptmx) tells its end, EIO, before its bytes. The first read of each waits
 * until the other side is closed and fails; further ones read. It does what the kernel does when the other side writes and closes between
 * two steps of one read. With EARLY_REPORT it adds a line to that file for each end that came early, and had bytes behind it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 1024, WAIT = 5000 /* ms */ };

static bool is_master(int fd)
{
    char via[32], path[4096];
    snprintf(via, sizeof via, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(via, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return strstr(path, "ptmx") != NULL;
}

static void report(void)
{
    const char *path = getenv("EARLY_REPORT");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    fputs("early\n", file);
    fclose(file);
}

static bool ends_early(int fd)
{
    static bool told[FDS];
    if (fd < 0 || fd >= FDS || told[fd] || !is_master(fd))
        return false;
    told[fd] = true;
    struct pollfd p = { .fd = fd };
    poll(&p, 1, WAIT);
    p.events = POLLIN;
    if (poll(&p, 1, 0) == 1 && (p.revents & POLLIN) && (p.revents & POLLHUP))
        report();
    errno = EIO;
    return true;
}

ssize_t read(int fd, void *bytes, size_t len)
{
    ssize_t (*real)(int, void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "read");
    return ends_early(fd) ? -1 : real(fd, bytes, len);
}

ssize_t readv(int fd, const struct iovec *iov, int count)
{
    ssize_t (*real)(int, const struct iovec *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "readv");
    return ends_early(fd) ? -1 : real(fd, iov, count);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
    ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned);
    *(void **)&real = dlsym(RTLD_NEXT, "splice");
    return ends_early(from) ? -1 : real(from, from_at, to, to_at, len, flags);
}
