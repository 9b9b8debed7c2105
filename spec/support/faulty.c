/* Stands before the C library (LD_PRELOAD): the call FAULT_CALL (readdir, read, close, fsync, write) fails with the error
 * FAULT_ERROR on files whose path holds FAULT_PATH. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static bool faulty(const char *call, int fd)
{
    const char *wanted = getenv("FAULT_CALL"), *part = getenv("FAULT_PATH"), *number = getenv("FAULT_ERROR");
    if (!wanted || !part || strcmp(call, wanted) != 0)
        return false;
    char via[32], path[4096];
    snprintf(via, sizeof via, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(via, path, sizeof path - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    if (!strstr(path, part))
        return false;
    errno = number ? atoi(number) : EIO;
    return true;
}

struct dirent *readdir(DIR *dir)
{
    struct dirent *(*real)(DIR *);
    *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    return faulty("readdir", dirfd(dir)) ? NULL : real(dir);
}

struct dirent64 *readdir64(DIR *dir)
{
    struct dirent64 *(*real)(DIR *);
    *(void **)&real = dlsym(RTLD_NEXT, "readdir64");
    return faulty("readdir", dirfd(dir)) ? NULL : real(dir);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    ssize_t (*real)(int, void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "read");
    return faulty("read", fd) ? -1 : real(fd, bytes, len);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    ssize_t (*real)(int, const void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "write");
    return faulty("write", fd) ? -1 : real(fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    ssize_t (*real)(int, const struct iovec *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "writev");
    return faulty("write", fd) ? -1 : real(fd, iov, count);
}

int fsync(int fd)
{
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    return faulty("fsync", fd) ? -1 : real(fd);
}

int close(int fd)
{
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, "close");
    bool fails = faulty("close", fd);
    int error = errno, rc = real(fd);
    if (fails)
        errno = error;
    return fails ? -1 : rc;
}
