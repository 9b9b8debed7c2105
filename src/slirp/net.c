/* The thread that runs libslirp, and the timers and events that it asks for. */
#include "slirp/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    NET_FRAME = 65536 + 4096,
    NET_BATCH = 64,     /* frames taken at once */
    NET_POLLS = 4096    /* sockets of guests: those beyond have to wait */
};

static const uint32_t NET_ADDRESS = 0x0a000200, NET_MASK = 0xffffff00; /* 10.0.2.0/24, as QEMU's own user network has it */

struct net_timer {
    struct net_timer *next;
    SlirpTimerCb call;
    void *arg;
    int64_t at; /* milliseconds; INT64_MAX: not set */
};

struct vmctl_slirp {
    Slirp *slirp;
    pthread_t thread;
    pid_t maker;
    int fd;
    struct net_timer *timers;
    struct pollfd polls[NET_POLLS]; /* the first is our own */
    int npolls;
    uint8_t frame[NET_FRAME];
};

static int64_t clock_ns(void *opaque)
{
    (void)opaque;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A frame that the switch has no room for is lost, as on any network. */
static ssize_t on_frame(const void *frame, size_t len, void *opaque)
{
    struct vmctl_slirp *s = opaque;
    ssize_t put = send(s->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)put;
    return (ssize_t)len;
}

static void on_guest_error(const char *message, void *opaque)
{
    (void)message, (void)opaque; /* mistakes of a guest are not reported */
}

static void *timer_new(SlirpTimerCb call, void *arg, void *opaque)
{
    struct vmctl_slirp *s = opaque;
    struct net_timer *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    *t = (struct net_timer){ .next = s->timers, .call = call, .arg = arg, .at = INT64_MAX };
    s->timers = t;
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    struct vmctl_slirp *s = opaque;
    struct net_timer **p = &s->timers;
    while (*p && *p != timer)
        p = &(*p)->next;
    if (*p)
        *p = (*p)->next;
    free(timer);
}

static void timer_set(void *timer, int64_t at, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct net_timer *)timer)->at = at;
}

static void ignore_fd(int fd, void *opaque)
{
    (void)fd, (void)opaque; /* each round asks for all of them */
}

static void ignore_notice(void *opaque)
{
    (void)opaque; /* it comes from our own thread, which looks anyway */
}

static const SlirpCb callbacks = {
    .send_packet = on_frame, .guest_error = on_guest_error, .clock_get_ns = clock_ns, .timer_new = timer_new,
    .timer_free = timer_free, .timer_mod = timer_set, .register_poll_fd = ignore_fd, .unregister_poll_fd = ignore_fd,
    .notify = ignore_notice,
};

static int add_poll(int fd, int events, void *opaque)
{
    struct vmctl_slirp *s = opaque;
    if (s->npolls == NET_POLLS)
        return -1;
    short wanted = 0;
    wanted |= events & SLIRP_POLL_IN ? POLLIN : 0;
    wanted |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
    wanted |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
    s->polls[s->npolls] = (struct pollfd){ .fd = fd, .events = wanted };
    return s->npolls++;
}

static int get_revents(int at, void *opaque)
{
    const struct vmctl_slirp *s = opaque;
    if (at < 0 || at >= s->npolls)
        return 0;
    short got = s->polls[at].revents;
    return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) | (got & POLLPRI ? SLIRP_POLL_PRI : 0) |
           (got & POLLERR ? SLIRP_POLL_ERR : 0) | (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static int until_timers(const struct vmctl_slirp *s, uint32_t most)
{
    int64_t now = clock_ns(NULL) / 1000000, wait = most < 1000 ? most : 1000;
    for (const struct net_timer *t = s->timers; t; t = t->next) {
        if (t->at != INT64_MAX && t->at - now < wait)
            wait = t->at > now ? t->at - now : 0;
    }
    return (int)wait;
}

/* A timer's call may free it, or others: the list is looked at anew. */
static void run_timers(struct vmctl_slirp *s)
{
    int64_t now = clock_ns(NULL) / 1000000;
    for (struct net_timer *t = s->timers; t;) {
        if (t->at > now) {
            t = t->next;
            continue;
        }
        t->at = INT64_MAX;
        t->call(t->arg);
        t = s->timers;
    }
}

/* False: the other end is closed. */
static bool take_frames(struct vmctl_slirp *s)
{
    for (int n = 0; n < NET_BATCH; n++) {
        ssize_t got = recv(s->fd, s->frame, sizeof s->frame, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got == 0)
            return false;
        slirp_input(s->slirp, s->frame, (int)got);
    }
    return true;
}

static void *run(void *arg)
{
    struct vmctl_slirp *s = arg;
    bool open = true;
    while (open) {
        uint32_t wait = UINT32_MAX;
        s->polls[0] = (struct pollfd){ .fd = s->fd, .events = POLLIN };
        s->npolls = 1;
        slirp_pollfds_fill(s->slirp, &wait, add_poll, s);
        int ready = poll(s->polls, (nfds_t)s->npolls, until_timers(s, wait));
        slirp_pollfds_poll(s->slirp, ready < 0, get_revents, s);
        if (ready > 0 && s->polls[0].revents)
            open = take_frames(s);
        run_timers(s);
    }
    return NULL;
}

static Slirp *start_slirp(const struct vmctl_slirp_options *opts, struct vmctl_slirp *s)
{
    SlirpConfig config = {
        .version = 1, .restricted = opts->restricted, .in_enabled = true, .vnetwork.s_addr = htonl(NET_ADDRESS),
        .vnetmask.s_addr = htonl(NET_MASK), .vhost.s_addr = htonl(NET_ADDRESS + 2), .in6_enabled = opts->ipv6,
        .vprefix_len = 64, .vdhcp_start.s_addr = htonl(NET_ADDRESS + 15), .vnameserver.s_addr = htonl(NET_ADDRESS + 3),
        .disable_host_loopback = !opts->host_loopback,
    };
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    return slirp_new(&config, &callbacks, s);
}

/* The thread takes no signals: they are the program's. */
static int start_thread(struct vmctl_slirp *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

int vmctl_slirp_open(const struct vmctl_slirp_options *opts, struct vmctl_slirp **out, int *out_fd)
{
    int fd[2], err = -ENOMEM;
    struct vmctl_slirp *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0) {
        err = -errno;
        free(s);
        return err;
    }
    s->fd = fd[0];
    s->maker = getpid();
    s->slirp = start_slirp(opts, s);
    if (s->slirp)
        err = start_thread(s);
    if (err) {
        if (s->slirp)
            slirp_cleanup(s->slirp);
        close(fd[0]);
        close(fd[1]);
        free(s);
        return err;
    }
    *out = s;
    *out_fd = fd[1];
    return 0;
}

void vmctl_slirp_close(struct vmctl_slirp *s)
{
    if (s->maker != getpid())
        return; /* a fork: the thread is not here, and its network is the other process's */
    shutdown(s->fd, SHUT_RDWR); /* it reads the end */
    pthread_join(s->thread, NULL);
    slirp_cleanup(s->slirp);
    close(s->fd);
    while (s->timers)
        timer_free(s->timers, s);
    free(s);
}
