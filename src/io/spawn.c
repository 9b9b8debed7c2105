/* Starts a child process, in the parent: pipes, terminal, vfork, and the report of a failed start. */
#include "io/spawn.h"

#include "io/spawn_child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { SPAWN_P_PIDFD = 3 }; /* P_PIDFD, which older libcs do not name */

static const char *spawn_search_path(char *const *env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Writes "dir/file" for each directory of the path; an empty one is the current directory. */
static void spawn_candidates(const char *path, const char *file, char **out, char *text)
{
    size_t file_size = strlen(file) + 1;

    for (;;) {
        size_t dir = strcspn(path, ":");
        *out++ = text;
        memcpy(text, path, dir);
        text += dir;
        if (dir > 0)
            *text++ = '/';
        memcpy(text, file, file_size);
        text += file_size;
        if (path[dir] == '\0')
            break;
        path += dir + 1;
    }
    *out = NULL;
}

/* Everything that the child needs memory for, in one block to be freed by the caller. */
static int spawn_plan(const struct vmctl_spawn *s, struct vmctl_child *c, void **out_block)
{
    static char shell[] = "/bin/sh";
    bool search = *s->file && !strchr(s->file, '/');
    const char *path = search ? spawn_search_path(s->env) : "";
    size_t nfiles = 1, nargs = 0;

    for (const char *p = path; *p; p++)
        nfiles += *p == ':';
    while (s->argv[nargs])
        nargs++;

    /* The files and a NULL; the shell, its script, argv[1] and on, and a NULL; each file with its '/' and NUL. */
    size_t pointers = nfiles + 1 + nargs + 3;
    size_t text = search ? strlen(path) + nfiles * (strlen(s->file) + 2) : 0;
    char **block = malloc(pointers * sizeof *block + text);
    if (!block)
        return -ENOMEM;

    char **script = block + nfiles + 1;
    if (search) {
        spawn_candidates(path, s->file, block, (char *)(block + pointers));
    } else {
        block[0] = (char *)(uintptr_t)s->file; /* execve takes it as const, but not inside an argv */
        block[1] = NULL;
    }
    script[0] = shell;
    script[1] = NULL;
    script[2] = NULL;
    for (size_t i = 1; i < nargs; i++) {
        script[i + 1] = s->argv[i];
        script[i + 2] = NULL;
    }
    c->files = block;
    c->script = script;
    *out_block = block;
    return 0;
}

/* A pipe with both ends beyond the child's fds: it must not take an end for one of those that it is to have. */
static int spawn_pipe(int ends[2], int first)
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= first)
            continue;
        int low = ends[i];
        ends[i] = fcntl(low, F_DUPFD_CLOEXEC, first);
        int err = ends[i] < 0 ? -errno : 0;
        close(low);
        if (err)
            return err; /* the caller closes the other ends */
    }
    return 0;
}

/* Waits for the report of a child with memory of its own: it was forked, or an emulator (valgrind, qemu-user) made a fork of our vfork. */
static void spawn_await(struct vmctl_child *c, int fd)
{
    struct vmctl_child_report r;
    ssize_t n;

    do
        n = read(fd, &r, sizeof r);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof r) {
        c->report.err = r.err;
        c->report.step = r.step;
    }
}

static void spawn_bury(pid_t pid)
{
    siginfo_t info;
    int r;

    do
        r = waitid(P_PID, (id_t)pid, &info, WEXITED);
    while (r < 0 && errno == EINTR);
}

int vmctl_spawn_start(const struct vmctl_spawn *s, pid_t *out_pid, int *out_pidfd, const char **out_step)
{
    struct vmctl_child c = { .spec = s, .parent = getpid(), .landlock = -1, .report_fd = -1, .pidfd = -1 };
    bool may_share = VMCTL_CHILD_SHARES && s->shares && !s->set_user;
    const char *step = "allocate";
    void *block = NULL;
    int ends[2] = { -1, -1 };
    pid_t pid;

    int err = spawn_plan(s, &c, &block);
    if (err)
        goto out;
    step = "pipe";
    if (!may_share || !*s->shares)
        err = spawn_pipe(ends, s->nfds);
    if (err)
        goto out;
    c.report_fd = ends[1];
    if (s->landlock > 2) { /* a copy beyond the child's fds */
        step = "landlock";
        c.landlock = fcntl(s->landlock, F_DUPFD_CLOEXEC, s->nfds);
        if (c.landlock < 0) {
            err = -errno;
            goto out;
        }
    }
    step = "fork";
    pid = vmctl_child_fork(&c);
    if (pid < 0) {
        err = (int)pid;
        goto out;
    }
    if (c.shared && may_share)
        *s->shares = true;
    if (!c.shared && ends[1] >= 0) {
        close(ends[1]); /* or the end of file would never come */
        ends[1] = -1;
        spawn_await(&c, ends[0]);
    }
    if (c.report.err) {
        step = c.report.step;
        err = -(int)c.report.err;
        if (c.pidfd >= 0)
            close(c.pidfd);
        spawn_bury(pid);
        goto out;
    }
    *out_pid = pid;
    if (c.pidfd < 0)
        c.pidfd = (int)syscall(SYS_pidfd_open, pid, 0U); /* the unreaped pid cannot be another's */
    *out_pidfd = c.pidfd; /* always close-on-exec */
out:
    if (err)
        *out_step = step;
    if (c.landlock >= 0)
        close(c.landlock);
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    free(block);
    return err;
}

static int spawn_waitid(pid_t pid, int pidfd, siginfo_t *info)
{
    const int options = WEXITED | WNOHANG;

    if (pidfd >= 0) {
        if (waitid((idtype_t)SPAWN_P_PIDFD, (id_t)pidfd, info, options) == 0)
            return 0;
        if (errno != EINVAL) /* Linux 5.3 has pidfds but cannot wait for them */
            return -errno;
    }
    return waitid(P_PID, (id_t)pid, info, options) < 0 ? -errno : 0;
}

int vmctl_spawn_reap(pid_t pid, int pidfd, int *out_code, int *out_signal)
{
    siginfo_t info = { .si_pid = 0 }; /* which it stays while the child runs */
    int err = spawn_waitid(pid, pidfd, &info);

    if (err)
        return err;
    if (info.si_pid == 0)
        return 0;
    bool exited = info.si_code == CLD_EXITED;
    *out_code = exited ? info.si_status : -1;
    *out_signal = exited ? -1 : info.si_status;
    return 1;
}

static int spawn_kill_one(pid_t pid, int pidfd, int signal)
{
    if (pidfd >= 0) {
        if (syscall(SYS_pidfd_send_signal, pidfd, signal, (void *)0, 0U) == 0)
            return 0;
        if (errno != ENOSYS)
            return -errno;
    }
    return kill(pid, signal) < 0 ? -errno : 0;
}

int vmctl_spawn_kill(pid_t pid, int pidfd, int signal, bool group)
{
    if (pid <= 1) /* as a target, 0, -1 and their kind are half of the system */
        return -ESRCH;
    if (!group)
        return spawn_kill_one(pid, pidfd, signal);
    /* The group's number is the leader's pid, which is safe from reuse until that is reaped. */
    if (spawn_kill_one(pid, pidfd, 0) == -ESRCH)
        return -ESRCH;
    return kill(-pid, signal) < 0 ? -errno : 0;
}

int vmctl_spawn_resize(int master, unsigned rows, unsigned cols)
{
    struct winsize size;

    if (rows > USHRT_MAX || cols > USHRT_MAX)
        return -EINVAL;
    if (ioctl(master, TIOCGWINSZ, &size) < 0)
        return -errno;
    if (rows)
        size.ws_row = (unsigned short)rows;
    if (cols)
        size.ws_col = (unsigned short)cols;
    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

/* TIOCGPTPEER (Linux 4.13) needs no path, so it works whatever is mounted on /dev/pts. */
static int spawn_open_slave(int master)
{
    const int flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    char path[64];

    int fd = ioctl(master, TIOCGPTPEER, flags);
    if (fd >= 0)
        return fd;
    int err = ptsname_r(master, path, sizeof path);
    if (err)
        return -err;
    fd = open(path, flags);
    return fd < 0 ? -errno : fd;
}

int vmctl_spawn_pty(unsigned rows, unsigned cols, int *out_master, int *out_slave)
{
    int err = 0, slave = -1;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
        err = -errno;
        goto out;
    }
    err = vmctl_spawn_resize(master, rows, cols);
    if (err)
        goto out;
    slave = spawn_open_slave(master);
    if (slave < 0) {
        err = slave;
        goto out;
    }
    *out_master = master;
    *out_slave = slave;
    master = -1;
out:
    if (master >= 0)
        close(master);
    return err;
}
