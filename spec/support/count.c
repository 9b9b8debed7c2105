/* Stands before the C library (LD_PRELOAD) of a Lua script: from the call of `faults_begin` (package.loadlib) to `faults_end` it
 * counts the system calls and allocations of the process, and the call FAULT_CALL fails once with the error FAULT_ERROR, the
 * FAULT_AT-th time. At the end the counts go to the file FAULT_REPORT, a line "CALL COUNT" each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* name, result, parameters, arguments: calls that answer -1 and set errno. */
#define CALLS(X) \
    X(read, ssize_t, (int fd, void *to, size_t n), (fd, to, n)) \
    X(readv, ssize_t, (int fd, const struct iovec *v, int n), (fd, v, n)) \
    X(write, ssize_t, (int fd, const void *from, size_t n), (fd, from, n)) \
    X(writev, ssize_t, (int fd, const struct iovec *v, int n), (fd, v, n)) \
    X(recv, ssize_t, (int fd, void *to, size_t n, int flags), (fd, to, n, flags)) \
    X(send, ssize_t, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags)) \
    X(sendmsg, ssize_t, (int fd, const struct msghdr *m, int flags), (fd, m, flags)) \
    X(splice, ssize_t, (int in, off64_t *i, int out, off64_t *o, size_t n, unsigned flags), (in, i, out, o, n, flags)) \
    X(socket, int, (int family, int type, int protocol), (family, type, protocol)) \
    X(socketpair, int, (int family, int type, int protocol, int fds[2]), (family, type, protocol, fds)) \
    X(bind, int, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n)) \
    X(listen, int, (int fd, int backlog), (fd, backlog)) \
    X(connect, int, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n)) \
    X(accept4, int, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags)) \
    X(getsockopt, int, (int fd, int level, int name, void *to, socklen_t *n), (fd, level, name, to, n)) \
    X(setsockopt, int, (int fd, int level, int name, const void *from, socklen_t n), (fd, level, name, from, n)) \
    X(getsockname, int, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n)) \
    X(getpeername, int, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n)) \
    X(shutdown, int, (int fd, int how), (fd, how)) \
    X(epoll_create1, int, (int flags), (flags)) \
    X(epoll_ctl, int, (int epfd, int op, int fd, struct epoll_event *e), (epfd, op, fd, e)) \
    X(epoll_wait, int, (int epfd, struct epoll_event *e, int n, int wait), (epfd, e, n, wait)) \
    X(pipe2, int, (int fds[2], int flags), (fds, flags)) \
    X(dup3, int, (int from, int to, int flags), (from, to, flags)) \
    X(eventfd, int, (unsigned start, int flags), (start, flags)) \
    X(fork, pid_t, (void), ()) \
    X(waitid, int, (idtype_t type, id_t id, siginfo_t *info, int options), (type, id, info, options)) \
    X(mkdirat, int, (int at, const char *path, mode_t mode), (at, path, mode)) \
    X(unlinkat, int, (int at, const char *path, int flags), (at, path, flags)) \
    X(renameat, int, (int from, const char *old, int to, const char *new), (from, old, to, new)) \
    X(unlink, int, (const char *path), (path)) \
    X(chmod, int, (const char *path, mode_t mode), (path, mode)) \
    X(fchmod, int, (int fd, mode_t mode), (fd, mode)) \
    X(fsync, int, (int fd), (fd)) \
    X(ftruncate64, int, (int fd, off64_t size), (fd, size))

/* The others, with a wrapper written out below. */
#define OTHERS(X) X(malloc) X(calloc) X(realloc) X(close) X(open64) X(openat64) X(fcntl64) X(vfork) X(pthread_create)

#define AS_NAME(name, ...) #name,
#define AS_KIND(name, ...) KIND_##name,
enum kind { CALLS(AS_KIND) OTHERS(AS_KIND) KINDS };
static const char *const names[] = { CALLS(AS_NAME) OTHERS(AS_NAME) };
static unsigned counts[KINDS];
static bool counting;
static int wanted = -1, error = EIO;
static unsigned when;

/* Exported to the script: package.loadlib gives them as functions of Lua without results. */
int faults_begin(void *lua);
int faults_end(void *lua);

int faults_begin(void *lua)
{
    (void)lua;
    const char *call = getenv("FAULT_CALL"), *at = getenv("FAULT_AT"), *number = getenv("FAULT_ERROR");
    for (int i = 0; call && i < KINDS; i++)
        if (!strcmp(call, names[i]))
            wanted = i;
    when = at ? (unsigned)atoi(at) : 0;
    error = number ? atoi(number) : EIO;
    counting = true;
    return 0;
}

int faults_end(void *lua)
{
    (void)lua;
    counting = false;
    const char *path = getenv("FAULT_REPORT");
    FILE *file = path ? fopen(path, "w") : NULL;
    for (int i = 0; file && i < KINDS; i++)
        fprintf(file, "%s %u\n", names[i], counts[i]);
    if (file)
        fclose(file);
    return 0;
}

static bool fails(enum kind kind)
{
    if (!counting)
        return false;
    unsigned now = __atomic_add_fetch(&counts[kind], 1, __ATOMIC_SEQ_CST);
    if ((int)kind != wanted || now != when)
        return false;
    errno = error;
    return true;
}

#define REAL(name) \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

#define WRAPPER(name, result, parameters, arguments) \
    result name parameters \
    { \
        static result(*real) parameters; \
        REAL(name); \
        return fails(KIND_##name) ? -1 : real arguments; \
    }
CALLS(WRAPPER)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

void *malloc(size_t size)
{
    return fails(KIND_malloc) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(KIND_calloc) ? NULL : __libc_calloc(count, size);
}

/* A call that makes a block smaller may not fail: Lua relies on that. */
void *realloc(void *block, size_t size)
{
    bool grows = size > (block ? malloc_usable_size(block) : 0);
    return grows && fails(KIND_realloc) ? NULL : __libc_realloc(block, size);
}

/* The descriptor is closed in any case, as Linux does it. */
int close(int fd)
{
    static int (*real)(int);
    REAL(close);
    int rc = real(fd);
    return fails(KIND_close) ? -1 : rc;
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

int open64(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return fails(KIND_open64) ? -1 : real(path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    static int (*real)(int, const char *, int, ...);
    REAL(openat64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return fails(KIND_openat64) ? -1 : real(at, path, flags, mode);
}

int fcntl64(int fd, int command, ...)
{
    static int (*real)(int, int, ...);
    REAL(fcntl64);
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return fails(KIND_fcntl64) ? -1 : real(fd, command, argument);
}

/* A vfork must not return through a frame of ours: a fork does as well. */
pid_t vfork(void)
{
    static pid_t (*real)(void);
    REAL(fork);
    return fails(KIND_vfork) ? -1 : real();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    REAL(pthread_create);
    return fails(KIND_pthread_create) ? errno : real(thread, attr, run, argument);
}
