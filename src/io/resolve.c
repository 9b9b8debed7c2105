/* Has worker threads look host names up, so that the loop does not block. */
#include "io/resolve.h"

#include "io/workers.h"
#include "wire/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#ifndef VMCTL_STATIC_RESOLVER
#include <netdb.h>
#endif

enum { RESOLVE_MAX = 64 }; /* addresses kept: the answer may hold any number */

struct vmctl_resolve {
    pthread_mutex_t lock; /* guards refs, fd and done; the answer is written before `done` and never after */
    struct vmctl_job job;
    bool submitted;       /* a worker has, had or will have it */
    int refs;             /* the owner, and the job until it is over */
    int fd;               /* closed when the owner drops the query, so that its number is free at once; -1 from then on */
    bool done;
    int status; /* number of addresses, or a failure */
    const char *text;
    struct vmctl_addr list[RESOLVE_MAX];
    uint16_t port;
    char host[];
};

static void resolve_free(struct vmctl_resolve *q)
{
    if (q->fd >= 0)
        close(q->fd);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static void resolve_unref(struct vmctl_resolve *q)
{
    pthread_mutex_lock(&q->lock);
    bool last = --q->refs == 0;
    pthread_mutex_unlock(&q->lock);
    if (last)
        resolve_free(q);
}

/* The write is under the lock: an owner that drops the query meanwhile closes the fd, and its number may be reused. */
static void resolve_answer(struct vmctl_resolve *q, int status, const char *text)
{
    q->status = status;
    q->text = text;
    pthread_mutex_lock(&q->lock);
    q->done = true;
    if (q->fd >= 0)
        (void)eventfd_write(q->fd, 1); /* the first write to a counter of zero cannot fail */
    pthread_mutex_unlock(&q->lock);
}

/* Takes the fd on success; NULL when there is no memory. */
static struct vmctl_resolve *resolve_new(const char *host, uint16_t port, int fd)
{
    size_t size = strlen(host) + 1;
    struct vmctl_resolve *q = calloc(1, sizeof *q + size);
    if (!q)
        return NULL;
    if (pthread_mutex_init(&q->lock, NULL) != 0) {
        free(q);
        return NULL;
    }
    q->refs = 1;
    q->fd = fd;
    q->port = port;
    memcpy(q->host, host, size);
    return q;
}

#ifdef VMCTL_STATIC_RESOLVER

/* A static program has no name service to load, but /etc/hosts needs none. */

static int resolve_loopback(struct vmctl_resolve *q)
{
    vmctl_addr_inet(&q->list[0], "127.0.0.1", q->port);
    vmctl_addr_inet(&q->list[1], "::1", q->port);
    return 2;
}

/* The number of addresses that the line adds after the `n` there are: 0 or 1. */
static int resolve_hosts_line(struct vmctl_resolve *q, char *line, int n)
{
    static const char blanks[] = " \t\r\n";
    char *rest;
    const char *name;
    line[strcspn(line, "#")] = '\0';
    const char *ip = strtok_r(line, blanks, &rest);
    if (!ip)
        return 0;
    while ((name = strtok_r(NULL, blanks, &rest)) != NULL)
        if (strcasecmp(name, q->host) == 0)
            return vmctl_addr_inet(&q->list[n], ip, q->port) == 0;
    return 0;
}

static int resolve_hosts(struct vmctl_resolve *q)
{
    FILE *f = fopen("/etc/hosts", "re");
    if (!f)
        return errno == ENOENT ? 0 : -errno;
    char *line = NULL;
    size_t cap = 0;
    int n = 0;
    while (n < RESOLVE_MAX && getline(&line, &cap, f) >= 0)
        n += resolve_hosts_line(q, line, n);
    free(line);
    fclose(f);
    return n;
}

static int resolve_begin(struct vmctl_loop *loop, struct vmctl_resolve *q)
{
    (void)loop;
    int n = strcasecmp(q->host, "localhost") == 0 ? resolve_loopback(q) : resolve_hosts(q);
    resolve_answer(q, n ? n : VMCTL_ERESOLVE,
                   "this program resolves only addresses, localhost and the names in /etc/hosts");
    return 0;
}

#else

static int resolve_status(int gai, int err)
{
    if (gai == EAI_MEMORY)
        return -ENOMEM;
    return gai == EAI_SYSTEM && err ? -err : VMCTL_ERESOLVE;
}

/* The list from getaddrinfo is copied: its entries share nothing with ours, and the port is ours to add. */
static int resolve_collect(struct vmctl_resolve *q, const struct addrinfo *found)
{
    int n = 0;
    for (; found && n < RESOLVE_MAX; found = found->ai_next) {
        struct vmctl_addr *a = &q->list[n];
        if (found->ai_addrlen > sizeof a->u)
            continue;
        memcpy(&a->u, found->ai_addr, found->ai_addrlen);
        a->len = found->ai_addrlen;
        if (found->ai_family == AF_INET)
            a->u.in.sin_port = htons(q->port);
        else if (found->ai_family == AF_INET6)
            a->u.in6.sin6_port = htons(q->port);
        else
            continue;
        n++;
    }
    return n;
}

static void on_run(struct vmctl_job *job)
{
    struct vmctl_resolve *q = VMCTL_CONTAINER(job, struct vmctl_resolve, job);
    struct addrinfo *found = NULL;
    /* No AI_ADDRCONFIG: it would hide ::1 and 127.0.0.1 on a machine that has nothing but loopback. */
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int gai = getaddrinfo(q->host, NULL, &hints, &found);
    if (gai) {
        resolve_answer(q, resolve_status(gai, errno), gai_strerror(gai));
    } else {
        int n = resolve_collect(q, found);
        freeaddrinfo(found);
        resolve_answer(q, n ? n : VMCTL_ERESOLVE, gai_strerror(EAI_NONAME));
    }
}

/* Nothing to do: the query's own descriptor has told its owner. */
static void on_done(struct vmctl_job *job)
{
    (void)job;
}

static void on_free(struct vmctl_job *job)
{
    resolve_unref(VMCTL_CONTAINER(job, struct vmctl_resolve, job));
}

static int resolve_begin(struct vmctl_loop *loop, struct vmctl_resolve *q)
{
    q->job.run = on_run;
    q->job.done = on_done;
    q->job.free = on_free;
    vmctl_list_init(&q->job.link);
    q->refs++;
    int err = vmctl_workers_submit(loop, &q->job);
    if (err)
        q->refs--;
    q->submitted = !err;
    return err;
}

#endif

int vmctl_resolve_start(struct vmctl_loop *loop, const char *host, uint16_t port, struct vmctl_resolve **out, int *out_fd)
{
    if (host[0] == '\0')
        return -EINVAL;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct vmctl_resolve *q = resolve_new(host, port, fd);
    if (!q) {
        close(fd);
        return -ENOMEM;
    }
    int err = vmctl_addr_inet(&q->list[0], host, port);
    if (err == -EINVAL) { /* not an address: a name */
        err = resolve_begin(loop, q);
        if (err) {
            resolve_free(q);
            return err;
        }
    } else {
        resolve_answer(q, err ? err : 1, "no such network interface");
    }
    *out = q;
    *out_fd = fd;
    return 0;
}

int vmctl_resolve_result(struct vmctl_resolve *q, const struct vmctl_addr **list, const char **text)
{
    pthread_mutex_lock(&q->lock);
    bool done = q->done;
    pthread_mutex_unlock(&q->lock);
    if (!done)
        return -EAGAIN;
    if (q->status > 0)
        *list = q->list;
    else
        *text = q->text;
    return q->status;
}

void vmctl_resolve_drop(struct vmctl_resolve *q)
{
    pthread_mutex_lock(&q->lock);
    close(q->fd);
    q->fd = -1;
    pthread_mutex_unlock(&q->lock);
    if (q->submitted)
        vmctl_workers_leave(&q->job);
    resolve_unref(q);
}
