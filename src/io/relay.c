/* Moves bytes between two streams in both directions, by splice where it can. */
#include "io/relay.h"

#include "io/sysio.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RELAY_PIPE = 1024 * 1024,
    RELAY_COPY = 256 * 1024,
    RELAY_BURST = 16 /* moves before others get their turn */
};

static const double RELAY_NAP = 0.01;

static void on_relay_close(struct vmctl_handle *h)
{
    vmctl_relay_close(VMCTL_CONTAINER(h, struct vmctl_relay, handle), VMCTL_ECLOSED);
}

static void on_relay_time(struct vmctl_timer *t);
static void on_way_nap(struct vmctl_timer *t);

void vmctl_relay_init(struct vmctl_relay *r, struct vmctl_loop *loop)
{
    *r = (struct vmctl_relay){ .loop = loop, .fds = { -1, -1, -1, -1 }, .over = true };
    r->handle.close = on_relay_close;
    r->timer.expired = on_relay_time;
    vmctl_list_init(&r->handle.link);
    vmctl_waitq_init(&r->waiters);
    for (int i = 0; i < 2; i++) {
        r->way[i].relay = r;
        r->way[i].nap.expired = on_way_nap;
        r->way[i].pipe[0] = r->way[i].pipe[1] = -1;
    }
}

static void way_stop(struct vmctl_relay_way *w)
{
    vmctl_io_stop(w->relay->loop, &w->rio);
    vmctl_io_stop(w->relay->loop, &w->wio);
    vmctl_timer_stop(w->relay->loop, &w->nap);
}

static void way_close(struct vmctl_relay_way *w)
{
    way_stop(w);
    for (int i = 0; i < 2; i++)
        if (w->pipe[i] >= 0)
            close(w->pipe[i]);
    w->pipe[0] = w->pipe[1] = -1;
    vmctl_buf_free(&w->buf);
}

void vmctl_relay_close(struct vmctl_relay *r, int err)
{
    if (r->over)
        return;
    r->over = true;
    r->err = err;
    vmctl_list_remove(&r->handle.link);
    vmctl_timer_stop(r->loop, &r->timer);
    r->loop->files -= r->files;
    way_close(&r->way[0]);
    way_close(&r->way[1]);
    for (int i = 0; i < 4; i++) {
        if (r->fds[i] >= 0 && (i % 2 == 0 || r->fds[i] != r->fds[i - 1]))
            close(r->fds[i]);
    }
    vmctl_wake_all(&r->waiters, 0);
}

/* Time limits */

static void relay_arm(struct vmctl_relay *r)
{
    double at = fmin(r->moved + r->idle, r->half + r->linger);
    if (!isinf(at) && (!r->timer.slot || r->timer.at > at))
        vmctl_timer_set(r->loop, &r->timer, at);
}

static void on_relay_time(struct vmctl_timer *t)
{
    struct vmctl_relay *r = VMCTL_CONTAINER(t, struct vmctl_relay, timer);
    if (fmin(r->moved + r->idle, r->half + r->linger) > vmctl_loop_now(r->loop))
        relay_arm(r);
    else
        vmctl_relay_close(r, -ETIMEDOUT);
}

/* Moving bytes: each function returns how many it moved, or a negative error */

static ssize_t way_take(struct vmctl_relay_way *w)
{
    ssize_t n;
    if (!w->copying) {
        do
            n = splice(w->from, NULL, w->pipe[1], NULL, RELAY_PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        while (n < 0 && errno == EINTR);
        if (n >= 0) {
            w->piped += (size_t)n;
            return n ? n : VMCTL_EOF;
        }
        if (errno != EINVAL && errno != ENOSYS)
            return -errno;
        w->copying = true; /* this kind of fd cannot splice */
    }
    int err = vmctl_buf_reserve(&w->buf, RELAY_COPY);
    if (err)
        return err;
    struct iovec iov = { w->buf.data + w->buf.end, RELAY_COPY };
    n = vmctl_sys_readv(w->from, &iov, 1, false);
    if (n > 0)
        w->buf.end += (size_t)n;
    return n ? n : VMCTL_EOF;
}

/* The caller has SIGPIPE blocked. */
static ssize_t way_put(struct vmctl_relay_way *w)
{
    ssize_t n;
    if (vmctl_buf_len(&w->buf)) {
        struct iovec iov = { vmctl_buf_head(&w->buf), vmctl_buf_len(&w->buf) };
        n = vmctl_sys_writev(w->to, &iov, 1, w->to_socket);
        if (n > 0)
            vmctl_buf_consume(&w->buf, (size_t)n);
        return n;
    }
    do
        n = splice(w->pipe[0], NULL, w->to, NULL, w->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    w->piped -= (size_t)n;
    return n;
}

static void way_finish(struct vmctl_relay_way *w)
{
    struct vmctl_relay *r = w->relay;
    w->done = true;
    way_stop(w);
    if (w->to_socket) {
        shutdown(w->to, SHUT_WR);
    } else {
        int side = w == &r->way[0] ? 2 : 0; /* a pipe ends by closing it; a fd of both directions has to wait */
        if (r->fds[side + 1] != r->fds[side]) {
            close(r->fds[side + 1]);
            r->fds[side + 1] = -1;
        }
    }
    if (r->way[0].done && r->way[1].done) {
        vmctl_relay_close(r, r->err);
    } else {
        r->half = vmctl_loop_now(r->loop);
        relay_arm(r);
    }
}

/* Nobody takes this way's bytes any more. The other way goes on: what the peer said before it went is delivered. */
static void way_break(struct vmctl_relay_way *w, int err)
{
    struct vmctl_relay *r = w->relay;
    int side = w == &r->way[0] ? 0 : 2;
    r->err = err;
    w->piped = 0;
    vmctl_buf_consume(&w->buf, vmctl_buf_len(&w->buf));
    way_stop(w);
    if (r->fds[side] == r->fds[side + 1]) {
        shutdown(w->from, SHUT_RD); /* so that its writer learns it too; a terminal has no such thing */
    } else if (r->fds[side] >= 0) {
        close(r->fds[side]);
        r->fds[side] = -1;
    }
    way_finish(w);
}

static bool way_full(const struct vmctl_relay_way *w)
{
    return vmctl_buf_len(&w->buf) || w->piped;
}

static void way_wait(struct vmctl_relay_way *w)
{
    struct vmctl_loop *loop = w->relay->loop;
    vmctl_io_stop(loop, way_full(w) ? &w->rio : &w->wio);
    vmctl_io_start(loop, way_full(w) ? &w->wio : &w->rio);
}

static void on_way_nap(struct vmctl_timer *t)
{
    way_wait(VMCTL_CONTAINER(t, struct vmctl_relay_way, nap));
}

static void way_nap(struct vmctl_relay_way *w)
{
    way_stop(w);
    if (vmctl_timer_set(w->relay->loop, &w->nap, vmctl_loop_now(w->relay->loop) + RELAY_NAP) != 0)
        way_wait(w);
}

/* 0: go on when an fd is ready; 1: it is over, one way or the other */
static int way_moves(struct vmctl_relay_way *w)
{
    struct vmctl_relay *r = w->relay;
    for (int i = 0; i < RELAY_BURST; i++) {
        bool full = way_full(w);
        ssize_t n = full ? way_put(w) : w->ended ? 0 : way_take(w);
        if (n > 0) {
            w->bytes += full ? (size_t)n : 0;
        } else if (n == VMCTL_EOF || (n == -EIO && !full) || (n == -ECONNRESET && !full && w->ended)) {
            w->ended = true;
        } else if (n == -EAGAIN) {
            way_wait(w);
            return 0;
        } else if (n == -ENOBUFS || n == -ENOMEM) {
            way_nap(w);
            return 0;
        } else if (full && (n == -EPIPE || n == -ECONNRESET)) {
            w->broken = true;
            way_break(w, (int)n);
            return 1;
        } else if (n < 0) {
            vmctl_relay_close(r, (int)n);
            return 1;
        }
        if (w->ended && !way_full(w)) {
            way_finish(w);
            return 1;
        }
    }
    way_wait(w);
    return 0;
}

static void way_run(struct vmctl_relay_way *w)
{
    struct vmctl_relay *r = w->relay;
    struct vmctl_sigpipe guard;
    uint64_t before = w->bytes;
    vmctl_sigpipe_block(&guard);
    int over = way_moves(w);
    vmctl_sigpipe_restore(&guard, over && w->broken);
    if (!r->over && w->bytes != before && !isinf(r->idle)) {
        r->moved = vmctl_loop_now(r->loop);
        relay_arm(r);
    }
}

static void on_way(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    struct vmctl_relay_way *w = io->data;
    int failed = vmctl_io_failed(w->relay->loop, io, events);
    if (!failed)
        way_run(w);
    else if (failed != -EAGAIN)
        vmctl_relay_close(w->relay, failed);
}

/* Starting */

static int way_open(struct vmctl_relay_way *w, struct vmctl_stream *from, struct vmctl_stream *to)
{
    w->from = from->rfd;
    w->to = to->wfd;
    w->to_socket = to->kind == VMCTL_STREAM_SOCKET;
    w->ended = from->rfd < 0;
    vmctl_buf_init(&w->buf, SIZE_MAX / 2);
    ev_io_init(&w->rio, on_way, w->from, EV_READ);
    ev_io_init(&w->wio, on_way, w->to, EV_WRITE);
    w->rio.data = w->wio.data = w;
    int err = vmctl_buf_append(&w->buf, vmctl_buf_head(&to->out), vmctl_buf_len(&to->out));
    if (!err)
        err = vmctl_buf_append(&w->buf, vmctl_buf_head(&from->in), vmctl_buf_len(&from->in));
    if (!err && pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        err = -errno;
    if (!err)
        fcntl(w->pipe[0], F_SETPIPE_SZ, RELAY_PIPE);
    return err;
}

static void relay_take(struct vmctl_relay *r, int at, struct vmctl_stream *s)
{
    r->files += s->file;
    r->loop->files += s->file;
    r->fds[at] = s->rfd;
    r->fds[at + 1] = s->wfd;
    vmctl_buf_consume(&s->out, vmctl_buf_len(&s->out));
    vmctl_stream_release(s);
    vmctl_stream_close(s);
}

int vmctl_relay_start(struct vmctl_relay *r, struct vmctl_stream *a, struct vmctl_stream *b, double idle,
                      double linger)
{
    if ((a->rfd < 0 && a->wfd < 0) || (b->rfd < 0 && b->wfd < 0))
        return VMCTL_ECLOSED;
    int err = way_open(&r->way[0], a, b);
    if (!err)
        err = way_open(&r->way[1], b, a);
    if (err) {
        way_close(&r->way[0]);
        way_close(&r->way[1]);
        return err;
    }
    r->idle = idle;
    r->linger = linger;
    r->moved = vmctl_loop_now(r->loop);
    r->half = INFINITY;
    r->over = false;
    relay_take(r, 0, a);
    relay_take(r, 2, b);
    vmctl_handle_add(r->loop, &r->handle);
    for (int i = 0; i < 2 && !r->over; i++) {
        struct vmctl_relay_way *w = &r->way[i];
        if (w->to < 0 || (w->ended && !vmctl_buf_len(&w->buf)))
            way_finish(w);
        else
            vmctl_io_start(r->loop, vmctl_buf_len(&w->buf) ? &w->wio : &w->rio);
    }
    relay_arm(r);
    return 0;
}
