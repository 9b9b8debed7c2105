/* A child process on the loop: learns of its end by a pidfd, signals it, and reaps it. */
#include "io/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESS_LAST_WAIT = 2000 }; /* milliseconds that a closing loop gives a killed child to be reaped */

static const double PROCESS_POLL = 0.02; /* seconds between two looks at a child that the loop cannot watch */

static void process_free(struct vmctl_process *p)
{
    if (p->pidfd >= 0)
        close(p->pidfd);
    free(p);
}

static void process_unwatch(struct vmctl_process *p)
{
    vmctl_io_stop(p->loop, &p->exited);
    if (p->pidfd >= 0)
        vmctl_io_forget(p->loop, p->pidfd);
    vmctl_timer_stop(p->loop, &p->poll);
    vmctl_list_remove(&p->handle.link);
}

static void process_leave_cgroup(struct vmctl_process *p)
{
    if (p->cgroup)
        vmctl_cgroup_leave(p->cgroup);
    p->cgroup = NULL;
}

static uint64_t process_bit(int signal)
{
    return signal > 0 && signal <= 64 ? UINT64_C(1) << (signal - 1) : 0;
}

/* Tells if the group is killed with its leader: if that was asked for, or if the leader died of a signal that we sent to all of it. */
static bool process_takes_group(const struct vmctl_process *p, const siginfo_t *end)
{
    return p->sweep || (end->si_code != CLD_EXITED && (p->sent & process_bit(end->si_status)));
}

/* Forgets a child after a fork: it is the other process's. */
static void process_forget(struct vmctl_process *p)
{
    p->done = true;
    p->code = p->signal = -1;
    process_unwatch(p);
    process_leave_cgroup(p);
    vmctl_wake_all(&p->waiters, VMCTL_ECLOSED);
}

/* The group is swept before its leader is reaped: until then the number cannot belong to anybody else. */
static bool process_reap(struct vmctl_process *p)
{
    siginfo_t info = { 0 };
    if ((p->sweep || p->sent) && waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == p->pid && process_takes_group(p, &info)) {
        kill(-p->pid, SIGKILL);
        if (p->cgroup)
            vmctl_cgroup_kill(p->cgroup);
    }
    int got = vmctl_spawn_reap(p->pid, p->pidfd, &p->code, &p->signal);
    if (got == 0)
        return false;
    if (got < 0)
        p->code = p->signal = -1;
    p->done = true;
    process_unwatch(p);
    process_leave_cgroup(p);
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->pidfd = -1;
    vmctl_wake_all(&p->waiters, 0);
    return true;
}

static void process_look(struct vmctl_process *p)
{
    if (process_reap(p)) {
        if (p->dropped)
            process_free(p);
    } else if (!ev_is_active(&p->exited)) {
        vmctl_timer_set(p->loop, &p->poll, vmctl_loop_now(p->loop) + PROCESS_POLL);
    }
}

static void on_exited(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_process *p = VMCTL_CONTAINER(w, struct vmctl_process, exited);
    (void)vmctl_io_failed(p->loop, w, events); /* an unwatched child is polled from time to time */
    process_look(p);
}

static void on_poll(struct vmctl_timer *t)
{
    process_look(VMCTL_CONTAINER(t, struct vmctl_process, poll));
}

/* Kills it, and waits for it as long as a killed process may reasonably take. */
static void process_end(struct vmctl_process *p)
{
    vmctl_process_kill(p, SIGKILL, true);
    struct pollfd wait = { .fd = p->pidfd, .events = POLLIN }; /* where there is no pidfd, poll only sleeps */
    int left = PROCESS_LAST_WAIT;
    while (!process_reap(p) && left > 0) {
        int pause = p->pidfd >= 0 ? left : 1;
        poll(&wait, 1, pause);
        left -= pause;
    }
}

static void on_close(struct vmctl_handle *h)
{
    struct vmctl_process *p = VMCTL_CONTAINER(h, struct vmctl_process, handle);
    if (vmctl_loop_is_ours(p->loop))
        process_end(p);
    if (!p->done)
        process_forget(p);
    if (p->dropped)
        process_free(p);
}

/* Starts it in a cgroup of its own if there is one; where processes may not enter cgroups, without. */
static int process_spawn(struct vmctl_process *p, const struct vmctl_spawn *how, bool contain, const char **step)
{
    struct vmctl_spawn inside = *how;
    inside.shares = &p->loop->spawns_share;
    p->cgroup = contain ? vmctl_cgroup_take(p->loop) : NULL;
    if (!p->cgroup)
        return vmctl_spawn_start(&inside, &p->pid, &p->pidfd, step);
    inside.cgroup = vmctl_cgroup_fd(p->cgroup);
    int err = vmctl_spawn_start(&inside, &p->pid, &p->pidfd, step);
    if (!err)
        return 0;
    process_leave_cgroup(p);
    if (strcmp(*step, "fork") != 0 || err == -EAGAIN || err == -ENOMEM)
        return err;
    vmctl_cgroup_refuse(p->loop);
    inside.cgroup = -1;
    return vmctl_spawn_start(&inside, &p->pid, &p->pidfd, step);
}

int vmctl_process_start(struct vmctl_loop *loop, const struct vmctl_spawn *how, bool contain, struct vmctl_process **out,
                        const char **step)
{
    struct vmctl_process *p = calloc(1, sizeof *p);
    *step = "allocate";
    if (!p)
        return -ENOMEM;
    p->loop = loop;
    p->code = p->signal = -1;
    p->handle.close = on_close;
    p->poll.expired = on_poll;
    p->group = how->group || how->session || how->tty >= 0;
    vmctl_waitq_init(&p->waiters);
    int err = vmctl_timer_set(loop, &p->poll, vmctl_loop_now(loop) + PROCESS_POLL); /* while failing is still harmless */
    if (!err)
        err = process_spawn(p, how, contain, step);
    if (err) {
        vmctl_timer_stop(loop, &p->poll);
        free(p);
        return err;
    }
    if (p->pidfd >= 0)
        vmctl_timer_stop(loop, &p->poll);
    ev_io_init(&p->exited, on_exited, p->pidfd, EV_READ);
    if (p->pidfd >= 0)
        vmctl_io_start(loop, &p->exited);
    vmctl_handle_add(loop, &p->handle);
    *out = p;
    return 0;
}

int vmctl_process_kill(struct vmctl_process *p, int signal, bool group)
{
    if (p->done || !vmctl_loop_is_ours(p->loop))
        return -ESRCH;
    int err = vmctl_spawn_kill(p->pid, p->pidfd, signal, group && p->group);
    if (!err && group && signal == SIGKILL && p->cgroup)
        vmctl_cgroup_kill(p->cgroup);
    if (!err && group && p->group)
        p->sent |= process_bit(signal);
    return err;
}

void vmctl_process_drop(struct vmctl_process *p)
{
    if (p->done) {
        process_free(p);
        return;
    }
    vmctl_process_kill(p, SIGKILL, true);
    p->dropped = true;
}
