/* Control groups for commands: processes that have left a command's process group are still in its cgroup, and are killed with it. */
#include "io/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CGROUP_KEPT = 32,  /* cgroups whose file of events stays open: the first ones, which serve one command after the other */
    CGROUP_TRIES = 8,  /* cgroups with leftover processes that are looked at before a new one is made */
    CGROUP_ROUNDS = 10 /* of killing one process after the other, where the kernel has no cgroup.kill (before 5.14) */
};

struct vmctl_cgroup {
    struct vmctl_list link;
    struct vmctl_cgroups *all;
    int fd;
    int events; /* -1: is opened when it is asked for */
    unsigned number;
    bool killed; /* by cgroup.kill: some kernels (6.14) kill processes that are started in it afterwards */
};

struct vmctl_cgroups {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    struct vmctl_list idle, left; /* empty ones; those whose command has ended and that may have processes */
    unsigned made, used, number;  /* cgroups that exist; those of running commands; the number of the next one */
    int fd;                       /* of vmctl-PID; -1: they cannot be used */
    pid_t pid;                    /* of the process that made it */
    bool closed;
    char path[PATH_MAX];
};

static ssize_t cgroup_read(int dir, const char *name, char *out, size_t size)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, out, size - 1);
    int err = -errno;
    close(fd);
    if (n < 0)
        return err;
    if ((size_t)n >= size)
        return -EIO;
    out[n] = '\0';
    return n;
}

/* Tells if a cgroup has no processes now. */
static bool cgroup_empty(struct vmctl_cgroup *c)
{
    char text[256];
    int fd = c->events >= 0 ? c->events : openat(c->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
    bool kept = c->number < CGROUP_KEPT;
    if (fd >= 0 && !kept)
        close(fd);
    c->events = kept ? fd : -1;
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, "populated 0") != NULL;
}

/* Copies a field of a line of mountinfo, counted from 0. False: it has fewer, or this one is too long. */
static bool cgroup_field(const char *line, int wanted, char *out, size_t size)
{
    for (; wanted > 0 && *line; wanted--) {
        line += strcspn(line, " ");
        line += *line == ' ';
    }
    size_t len = strcspn(line, " \n");
    if (len == 0 || len >= size)
        return false;
    memcpy(out, line, len);
    out[len] = '\0';
    return true;
}

/* The mount point of the whole hierarchy of version 2. */
static bool cgroup_mount(char *out, size_t size)
{
    char line[4096], root[256];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, " - cgroup2 ") && cgroup_field(line, 3, root, sizeof root) && strcmp(root, "/") == 0 &&
                cgroup_field(line, 4, out, size);
    if (f)
        fclose(f);
    return found;
}

/* Our own cgroup below the mount: "" or "/a/b". */
static bool cgroup_own(char *out, size_t size)
{
    char line[4096];
    bool found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        size_t len = strcspn(line, "\n");
        found = strncmp(line, "0::/", 4) == 0 && len - 3 < size;
        if (found) {
            memcpy(out, line + 3, len - 3);
            out[len - 3 == 1 ? 0 : len - 3] = '\0';
        }
    }
    if (f)
        fclose(f);
    return found;
}

/* Removes a folder and the folders in it, as far as they are empty. */
static void cgroup_remove_all(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            unlinkat(fd, e->d_name, AT_REMOVEDIR);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    unlinkat(at, name, AT_REMOVEDIR);
}

/* Removes the cgroups of programs that have ended, if their leftover processes have ended, too. */
static void cgroup_tidy(const char *folder)
{
    DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        int pid;
        if (sscanf(e->d_name, "vmctl-%d", &pid) == 1 && pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
            cgroup_remove_all(dirfd(dir), e->d_name);
    }
    if (dir)
        closedir(dir);
}

static void cgroups_open(struct vmctl_cgroups *all)
{
    char mount[1024], own[2048], folder[3200];
    if (!cgroup_mount(mount, sizeof mount) || !cgroup_own(own, sizeof own))
        return;
    snprintf(folder, sizeof folder, "%s%s", mount, own);
    cgroup_tidy(folder);
    int n = snprintf(all->path, sizeof all->path, "%s/vmctl-%d", folder, (int)all->pid);
    if (n < 0 || (size_t)n >= sizeof all->path || (mkdir(all->path, 0755) < 0 && errno != EEXIST))
        return;
    all->fd = open(all->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void cgroup_free(struct vmctl_cgroup *c)
{
    char name[16];
    snprintf(name, sizeof name, "c%u", c->number);
    if (c->all->fd >= 0 && getpid() == c->all->pid)
        unlinkat(c->all->fd, name, AT_REMOVEDIR);
    vmctl_list_remove(&c->link);
    c->all->made--;
    close(c->fd);
    if (c->events >= 0)
        close(c->events);
    free(c);
}

static void cgroups_free(struct vmctl_cgroups *all)
{
    if (all->fd >= 0) {
        if (getpid() == all->pid)
            rmdir(all->path);
        close(all->fd);
    }
    free(all);
}

static void cgroups_free_list(struct vmctl_list *list)
{
    while (!vmctl_list_empty(list))
        cgroup_free(VMCTL_CONTAINER(list->next, struct vmctl_cgroup, link));
}

/* Commands that the loop could not reap in time give theirs back later. */
static void on_close(struct vmctl_handle *h)
{
    struct vmctl_cgroups *all = VMCTL_CONTAINER(h, struct vmctl_cgroups, handle);
    all->loop->cgroups = NULL;
    all->closed = true;
    cgroups_free_list(&all->idle);
    cgroups_free_list(&all->left);
    if (all->used == 0)
        cgroups_free(all);
}

static struct vmctl_cgroups *cgroups_get(struct vmctl_loop *loop)
{
    if (loop->cgroups)
        return loop->cgroups;
    struct vmctl_cgroups *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->loop = loop;
    all->fd = -1;
    all->pid = getpid();
    all->handle.close = on_close;
    vmctl_list_init(&all->idle);
    vmctl_list_init(&all->left);
    cgroups_open(all);
    vmctl_handle_add(loop, &all->handle);
    loop->cgroups = all;
    return all;
}

/* An empty cgroup of the existing ones. */
static struct vmctl_cgroup *cgroups_find(struct vmctl_cgroups *all)
{
    if (!vmctl_list_empty(&all->idle))
        return VMCTL_CONTAINER(all->idle.next, struct vmctl_cgroup, link);
    for (int i = 0; i < CGROUP_TRIES && !vmctl_list_empty(&all->left); i++) {
        struct vmctl_cgroup *c = VMCTL_CONTAINER(all->left.next, struct vmctl_cgroup, link);
        bool empty = cgroup_empty(c);
        if (empty && !c->killed)
            return c;
        vmctl_list_remove(&c->link);
        if (empty)
            cgroup_free(c);
        else
            vmctl_list_append(&all->left, &c->link);
    }
    return NULL;
}

static struct vmctl_cgroup *cgroups_make(struct vmctl_cgroups *all)
{
    char name[16];
    struct vmctl_cgroup *c = all->made < VMCTL_CGROUPS ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return NULL;
    c->all = all;
    c->events = -1;
    c->number = all->number++;
    vmctl_list_init(&c->link);
    snprintf(name, sizeof name, "c%u", c->number);
    c->fd = mkdirat(all->fd, name, 0755) < 0 && errno != EEXIST ? -1 : openat(all->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->fd < 0) {
        free(c);
        return NULL;
    }
    all->made++;
    return c;
}

struct vmctl_cgroup *vmctl_cgroup_take(struct vmctl_loop *loop)
{
    struct vmctl_cgroups *all = cgroups_get(loop);
    if (!all || all->fd < 0 || all->pid != getpid())
        return NULL;
    struct vmctl_cgroup *c = cgroups_find(all);
    if (!c)
        c = cgroups_make(all);
    if (!c)
        return NULL;
    vmctl_list_remove(&c->link);
    all->used++;
    return c;
}

int vmctl_cgroup_fd(const struct vmctl_cgroup *c)
{
    return c->fd;
}

static void cgroup_kill_each(int dir)
{
    char text[4096];
    for (int i = 0; i < CGROUP_ROUNDS && cgroup_read(dir, "cgroup.procs", text, sizeof text) > 0; i++) {
        char *rest = text;
        for (long pid; (pid = strtol(rest, &rest, 10)) > 1;)
            kill((pid_t)pid, SIGKILL);
    }
}

void vmctl_cgroup_kill(struct vmctl_cgroup *c)
{
    int fd = openat(c->fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    bool killed = fd >= 0 && write(fd, "1", 1) == 1;
    if (fd >= 0)
        close(fd);
    c->killed = c->killed || killed;
    if (!killed)
        cgroup_kill_each(c->fd);
}

void vmctl_cgroup_leave(struct vmctl_cgroup *c)
{
    struct vmctl_cgroups *all = c->all;
    bool empty = cgroup_empty(c);
    all->used--;
    if (!all->closed && !(empty && c->killed)) {
        vmctl_list_append(empty ? &all->idle : &all->left, &c->link);
        return;
    }
    cgroup_free(c);
    if (all->closed && all->used == 0)
        cgroups_free(all);
}

void vmctl_cgroup_refuse(struct vmctl_loop *loop)
{
    struct vmctl_cgroups *all = loop->cgroups;
    if (!all || all->fd < 0)
        return;
    cgroups_free_list(&all->idle);
    cgroups_free_list(&all->left);
    rmdir(all->path);
    close(all->fd);
    all->fd = -1;
}
