/* Sets a new process up between fork and exec. */
#include "io/spawn_child.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A vforked child borrows its parent's memory, thread and stack, so this file keeps to three rules:
 * - No libc function that is a cancellation point (it would act on the parent thread's pending cancellation), that
 *   allocates, locks or speaks to the other threads (setuid and its like): those are raw system calls.
 * - No handler of the parent may run here: signals stay blocked until every action is the default.
 * - AddressSanitizer must not mark the frames: exec never unwinds them, and the marks would be the parent's to trip on. */
#define IN_CHILD __attribute__((no_sanitize("address")))

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifdef SYS_setresuid32 /* the plain names truncate ids to 16 bits on old 32-bit architectures */
#define CHILD_SETGROUPS SYS_setgroups32
#define CHILD_SETRESGID SYS_setresgid32
#define CHILD_SETRESUID SYS_setresuid32
#else
#define CHILD_SETGROUPS SYS_setgroups
#define CHILD_SETRESGID SYS_setresgid
#define CHILD_SETRESUID SYS_setresuid
#endif

#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#define CHILD_CLONE_INTO_CGROUP UINT64_C(0x200000000)
#define CHILD_CLONE_VM UINT64_C(0x100)
#define CHILD_CLONE_PIDFD UINT64_C(0x1000)
#define CHILD_CLONE_VFORK UINT64_C(0x4000)

struct child_clone { /* the kernel's clone_args */
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

enum {
    CHILD_CLOSE_RANGE_CLOEXEC = 1 << 2,
    CHILD_SIGSET_BYTES = (_NSIG - 1) / 8, /* the kernel's sigset_t, smaller than libc's */
    CHILD_FAILED = 127                 /* as a shell says it; seen only if the parent cannot be told */
};

struct child_dirent { /* the kernel's linux_dirent64 */
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

IN_CHILD static _Noreturn void child_exit(void)
{
    for (;;)
        syscall(SYS_exit_group, CHILD_FAILED);
}

IN_CHILD static _Noreturn void child_fail(struct vmctl_child *c, const char *step)
{
    struct vmctl_child_report r = { .err = errno, .step = step };

    c->report.err = r.err;
    c->report.step = r.step;
    syscall(SYS_write, c->report_fd, &r, sizeof r);
    child_exit();
}

IN_CHILD static void child_session(struct vmctl_child *c)
{
    const struct vmctl_spawn *s = c->spec;

    if (s->session || s->tty >= 0) {
        if (setsid() < 0)
            child_fail(c, "setsid");
    } else if (s->group && setpgid(0, 0) < 0) {
        child_fail(c, "setpgid");
    }
    if (s->tty >= 0 && ioctl(s->tty, TIOCSCTTY, 0) < 0)
        child_fail(c, "tty");
}

/* The source of the child's fd `i`: an fd above all that will be replaced, or `i` itself, or -1. */
IN_CHILD static int child_source(struct vmctl_child *c, int i)
{
    const struct vmctl_spawn *s = c->spec;
    int fd = s->fds[i];

    if (s->tty >= 0 && i < 3)
        fd = s->tty;
    if (fd < 0 || fd >= s->nfds || fd == i)
        return fd;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, s->nfds);
    if (fd < 0)
        child_fail(c, "dup");
    return fd;
}

IN_CHILD static void child_fds(struct vmctl_child *c)
{
    int from[VMCTL_SPAWN_FDS], n = c->spec->nfds;

    for (int i = 0; i < n; i++)
        from[i] = child_source(c, i);
    for (int i = 0; i < n; i++) {
        if (from[i] < 0)
            from[i] = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
        if (from[i] < 0)
            child_fail(c, "open /dev/null");
        if ((from[i] == i ? fcntl(i, F_SETFD, 0) : dup3(from[i], i, 0)) < 0)
            child_fail(c, "dup");
    }
}

/* -1 for "." and "..". */
IN_CHILD static int child_number(const char *name)
{
    int n = 0;

    for (; *name; name++) {
        if (*name < '0' || *name > '9')
            return -1;
        n = n * 10 + (*name - '0');
    }
    return n;
}

/* Marks all other fds close-on-exec. Kernels before 5.11 have no close_range that marks, and some sandboxes refuse it. */
IN_CHILD static void child_seal(struct vmctl_child *c)
{
    _Alignas(struct child_dirent) char buf[1024];
    int first = c->spec->nfds;
    long len;

    if (syscall(SYS_close_range, (unsigned)first, ~0U, (unsigned)CHILD_CLOSE_RANGE_CLOEXEC) == 0)
        return;
    int dir = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        child_fail(c, "open /proc/self/fd");
    while ((len = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0) {
        for (long at = 0; at < len;) {
            const struct child_dirent *d = (const void *)(buf + at);
            int fd = child_number(d->name);
            if (fd >= first && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                child_fail(c, "fcntl");
            at += d->reclen;
        }
    }
    if (len < 0)
        child_fail(c, "getdents");
}

IN_CHILD static void child_user(struct vmctl_child *c)
{
    const struct vmctl_spawn *s = c->spec;

    if (!s->set_user)
        return;
    errno = EINVAL; /* for the id -1, which to the kernel would mean: stay what you are */
    if (syscall(CHILD_SETGROUPS, s->ngroups, s->groups) < 0)
        child_fail(c, "setgroups");
    if (s->gid == (gid_t)-1 || syscall(CHILD_SETRESGID, s->gid, s->gid, s->gid) < 0)
        child_fail(c, "setgid");
    if (s->uid == (uid_t)-1 || syscall(CHILD_SETRESUID, s->uid, s->uid, s->uid) < 0)
        child_fail(c, "setuid");
}

/* Without a bounding set nobody gets a capability by exec, root included. A process without capabilities may not shrink it, and need
 * not. */
IN_CHILD static void child_drop_bounds(struct vmctl_child *c)
{
    for (unsigned long cap = 0; c->spec->confine && prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EPERM)
            child_fail(c, "drop capabilities");
}

IN_CHILD static void child_limit(struct vmctl_child *c, int what, uint64_t most)
{
    uint64_t limit[2]; /* rlim64: soft, hard */

    if (syscall(SYS_prlimit64, 0, what, (void *)0, limit) < 0)
        child_fail(c, "getrlimit");
    for (int i = 0; i < 2; i++)
        limit[i] = limit[i] < most ? limit[i] : most;
    if (syscall(SYS_prlimit64, 0, what, limit, (void *)0) < 0)
        child_fail(c, "setrlimit");
}

IN_CHILD static void child_confine(struct vmctl_child *c)
{
    if (!c->spec->confine)
        return;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) < 0 && errno != EINVAL)
        child_fail(c, "drop capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0)
        child_fail(c, "no new privileges");
    child_limit(c, RLIMIT_CORE, 0);
    if (c->spec->open_files)
        child_limit(c, RLIMIT_NOFILE, c->spec->open_files);
    if (c->landlock >= 0 && syscall(SYS_landlock_restrict_self, c->landlock, 0U) < 0)
        child_fail(c, "landlock");
}

/* Comes after child_user: a change of credentials clears the setting. */
IN_CHILD static void child_tie_to_parent(struct vmctl_child *c)
{
    if (!c->spec->death_signal)
        return;
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)c->spec->death_signal) < 0)
        child_fail(c, "prctl");
    pid_t parent = getppid(); /* 0: it lives outside our pid namespace, and cannot be compared */
    if (parent != 0 && parent != c->parent)
        child_exit(); /* the parent died before the prctl */
}

IN_CHILD static void child_signals(void)
{
    static const unsigned long zero[8]; /* as a kernel sigaction: SIG_DFL without flags, in any architecture's layout */

    for (int sig = 1; sig < _NSIG; sig++) /* refused for KILL and STOP, which have no other action anyway */
        syscall(SYS_rt_sigaction, sig, zero, (void *)0, (size_t)CHILD_SIGSET_BYTES);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, (void *)0, (size_t)CHILD_SIGSET_BYTES);
}

/* As execvp: a file that cannot be run here may be found in the next directory. */
IN_CHILD static bool child_try_next(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case ENAMETOOLONG:
    case ENODEV:
    case ESTALE:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

IN_CHILD static _Noreturn void child_exec(struct vmctl_child *c)
{
    const struct vmctl_spawn *s = c->spec;
    bool denied = false;

    for (char *const *file = c->files; *file; file++) {
        syscall(SYS_execve, *file, s->argv, s->env);
        if (errno == ENOEXEC) {
            c->script[1] = *file;
            syscall(SYS_execve, c->script[0], c->script, s->env);
            errno = ENOEXEC;
        }
        denied = denied || errno == EACCES;
        if (!child_try_next(errno))
            child_fail(c, "exec");
    }
    if (denied) /* says more than "not found" in a later directory */
        errno = EACCES;
    child_fail(c, "exec");
}

IN_CHILD static _Noreturn void child_run(struct vmctl_child *c)
{
    c->shared = true;
    child_session(c);
    child_fds(c);
    child_seal(c);
    child_drop_bounds(c);
    child_user(c);
    if (c->spec->cwd && chdir(c->spec->cwd) < 0)
        child_fail(c, "chdir");
    child_confine(c);
    child_tie_to_parent(c);
    child_signals();
    child_exec(c);
}

#if defined(__x86_64__) || defined(__aarch64__) /* where VMCTL_CHILD_SHARES is true */

enum { CHILD_STACK = 32 * 1024 };

/* As vfork, but on a stack of its own, since the call must not return in the child. */
IN_CHILD static pid_t child_vfork_into(struct vmctl_child *c, struct child_clone *args)
{
    void (*run)(struct vmctl_child *) = child_run;
#ifdef __x86_64__
    register struct vmctl_child *who __asm__("r12") = c;
    register void (*what)(struct vmctl_child *) __asm__("r13") = run;
    long pid = SYS_clone3;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "movq %%r12, %%rdi\n\t"
                     "callq *%%r13\n\t"
                     "hlt\n"
                     "1:"
                     : "+a"(pid)
                     : "D"(args), "S"(sizeof *args), "r"(who), "r"(what)
                     : "rcx", "r11", "memory", "cc");
#else
    register struct vmctl_child *who __asm__("x19") = c;
    register void (*what)(struct vmctl_child *) __asm__("x20") = run;
    register long number __asm__("x8") = SYS_clone3;
    register uintptr_t pid __asm__("x0") = (uintptr_t)args;
    register size_t size __asm__("x1") = sizeof *args;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x19\n\t"
                     "blr x20\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(pid)
                     : "r"(size), "r"(number), "r"(who), "r"(what)
                     : "memory", "cc", "x30");
#endif
    return (pid_t)pid;
}

#endif

/* The system call's result: -errno. */
IN_CHILD static pid_t child_fork_copied_into(struct vmctl_child *c, struct child_clone *args)
{
    pid_t pid = (pid_t)syscall(SYS_clone3, args, sizeof *args);
    if (pid == 0)
        child_run(c);
    return pid < 0 ? -errno : pid;
}

/* A fork whose child begins in another cgroup: moving it there afterwards would wait for all readers in the kernel. */
IN_CHILD static pid_t child_fork_into(struct vmctl_child *c)
{
    struct child_clone args = { .flags = CHILD_CLONE_INTO_CGROUP | CHILD_CLONE_PIDFD, .pidfd = (uintptr_t)&c->pidfd,
                                .exit_signal = SIGCHLD, .cgroup = (uint64_t)c->spec->cgroup };
#if defined(__x86_64__) || defined(__aarch64__)
    _Alignas(16) char stack[CHILD_STACK]; /* we stand still until the child has left our memory */
    if (!c->spec->set_user) {
        args.flags |= CHILD_CLONE_VM | CHILD_CLONE_VFORK;
        args.stack = (uintptr_t)stack;
        args.stack_size = sizeof stack;
        return child_vfork_into(c, &args);
    }
#endif
    return child_fork_copied_into(c, &args);
}

/* A process of the new user must never share our memory, and its setuid would make ourselves undumpable. */
IN_CHILD static pid_t child_fork_here(struct vmctl_child *c)
{
    pid_t pid = c->spec->set_user ? fork() : vfork(); /* NOLINT(clang-analyzer-*.vfork,clang-analyzer-*.Vfork) */
    if (pid == 0)
        child_run(c);
    return pid < 0 ? -errno : pid;
}

IN_CHILD pid_t vmctl_child_fork(struct vmctl_child *c)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = c->spec->cgroup >= 0 ? child_fork_into(c) : child_fork_here(c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}
