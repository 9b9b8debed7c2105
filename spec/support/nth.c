/* Stands before the C library (LD_PRELOAD): the call FAIL_CALL fails with the error FAIL_ERROR at the FAIL_AT-th time, or from then
 * on always (FAIL_ALWAYS). */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool fails(const char *call)
{
    static int count;
    const char *which = getenv("FAIL_CALL"), *at = getenv("FAIL_AT"), *number = getenv("FAIL_ERROR");
    if (!which || strcmp(which, call) != 0)
        return false;
    int now = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST), when = at ? atoi(at) : 1;
    if (now != when && !(now > when && getenv("FAIL_ALWAYS")))
        return false;
    errno = number ? atoi(number) : EIO;
    return true;
}

#define REAL(name) *(void **)&real = dlsym(RTLD_NEXT, name)

pid_t fork(void)
{
    pid_t (*real)(void);
    REAL("fork");
    return fails("fork") ? -1 : real();
}

/* A vfork must not return through a frame of ours: a fork does as well. */
pid_t vfork(void)
{
    pid_t (*real)(void);
    REAL("fork");
    return fails("vfork") ? -1 : real();
}

int pipe2(int fds[2], int flags)
{
    int (*real)(int *, int);
    REAL("pipe2");
    return fails("pipe2") ? -1 : real(fds, flags);
}

int dup3(int from, int to, int flags)
{
    int (*real)(int, int, int);
    REAL("dup3");
    return fails("dup3") ? -1 : real(from, to, flags);
}

static int any_fcntl(const char *name, int fd, int command, void *argument)
{
    int (*real)(int, int, void *);
    REAL(name);
    return fails("fcntl") ? -1 : real(fd, command, argument);
}

int fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return any_fcntl("fcntl", fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return any_fcntl("fcntl64", fd, command, argument);
}

/* The C library's name of fcntl64 where time_t has 64 bits and long has 32. */
int __fcntl_time64(int fd, int command, ...);

int __fcntl_time64(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return any_fcntl("__fcntl_time64", fd, command, argument);
}

struct dirent *readdir(DIR *dir)
{
    struct dirent *(*real)(DIR *);
    REAL("readdir");
    return fails("readdir") ? NULL : real(dir);
}

struct dirent64 *readdir64(DIR *dir)
{
    struct dirent64 *(*real)(DIR *);
    REAL("readdir64");
    return fails("readdir") ? NULL : real(dir);
}

int eventfd(unsigned start, int flags)
{
    int (*real)(unsigned, int);
    REAL("eventfd");
    return fails("eventfd") ? -1 : real(start, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    REAL("pthread_create");
    return fails("pthread_create") ? errno : real(thread, attr, run, argument);
}
