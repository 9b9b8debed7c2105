/* Starting a child process: a failure between fork and exec is reported, and no fd or signal setting is inherited by accident. */
#ifndef VMCTL_IO_SPAWN_H
#define VMCTL_IO_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { VMCTL_SPAWN_FDS = 32 }; /* the most that a child gets */

struct vmctl_spawn {
    const char *file;        /* with a '/': as it is; else looked up in the PATH of `env` */
    char *const *argv;       /* NULL-terminated */
    char *const *env;        /* NULL-terminated, complete */
    const char *cwd;         /* NULL: ours */
    int fds[VMCTL_SPAWN_FDS]; /* the child's 0, 1, 2, …; -1: /dev/null. Stay the caller's; may be equal or those themselves */
    int nfds;                /* how many of them: at least 3 */
    int tty;                 /* a terminal's slave side that becomes its controlling terminal and 0, 1, 2; -1: none */
    bool session;            /* setsid (implied by tty) */
    bool group;              /* a process group of its own (implied by session) */
    int cgroup;              /* the descriptor of a cgroup's folder that it starts in; -1: ours */
    bool *shares;            /* set when a child has shared our memory until its exec: later ones need no pipe; may be NULL */
    int death_signal;        /* sent when our thread ends; 0: none */
    bool confine;            /* no privileges by setuid files, no capabilities after exec, no core dumps */
    int landlock;            /* a set of rules (io/landlock.h) that it takes on; needs `confine`; below 3: none */
    unsigned open_files;     /* the most that it may have open, if it had more; 0: as it is */
    bool set_user;           /* then uid, gid and the supplementary groups below are taken on */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t ngroups;
};

/* Starts it. On success *out_pid is the child's pid and *out_pidfd a pidfd (close-on-exec), or -1 if there is none to
 * be had (an old kernel, no fd left). On failure -errno of the step that failed, whose name is put into *out_step ("exec", "chdir", "setuid" ...).
 * The child starts with no signal blocked or ignored and no fd beyond those. */
int vmctl_spawn_start(const struct vmctl_spawn *s, pid_t *out_pid, int *out_pidfd, const char **out_step);

/* A pseudo terminal of the given size (0: left alone). The master is non-blocking. Both are close-on-exec. */
int vmctl_spawn_pty(unsigned rows, unsigned cols, int *out_master, int *out_slave);
int vmctl_spawn_resize(int master, unsigned rows, unsigned cols);

/* Reaps the child if it has ended. 1: it has, *out_code is its exit code or *out_signal its signal (the other is -1); 0: not yet;
 * -ECHILD: other code has reaped it. Never blocks, never touches another child. */
int vmctl_spawn_reap(pid_t pid, int pidfd, int *out_code, int *out_signal);

/* Signals the process, or its whole group. By pidfd where that is possible, so that a reused pid is never hit. */
int vmctl_spawn_kill(pid_t pid, int pidfd, int signal, bool group);

#endif
