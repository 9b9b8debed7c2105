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
static void on_direction_nap(struct vmctl_timer *t);

void vmctl_relay_init(struct vmctl_relay *r, struct vmctl_loop *loop)
{
    *r = (struct vmctl_relay){ .loop = loop, .fds = { -1, -1, -1, -1 }, .over = true };
    r->handle.close = on_relay_close;
    r->timer.expired = on_relay_time;
    vmctl_list_init(&r->handle.link);
    vmctl_waitq_init(&r->waiters);
    for (int i = 0; i < 2; i++) {
        r->direction[i].relay = r;
        r->direction[i].nap.expired = on_direction_nap;
        r->direction[i].pipe[0] = r->direction[i].pipe[1] = -1;
    }
}

static void direction_stop(struct vmctl_relay_direction *d)
{
    vmctl_io_stop(d->relay->loop, &d->rio);
    vmctl_io_stop(d->relay->loop, &d->wio);
    vmctl_timer_stop(d->relay->loop, &d->nap);
}

static void direction_close(struct vmctl_relay_direction *d)
{
    direction_stop(d);
    for (int i = 0; i < 2; i++)
        if (d->pipe[i] >= 0)
            close(d->pipe[i]);
    d->pipe[0] = d->pipe[1] = -1;
    vmctl_buf_free(&d->buf);
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
    direction_close(&r->direction[0]);
    direction_close(&r->direction[1]);
    for (int i = 0; i < 4; i++) {
        if (r->fds[i] >= 0 && (i % 2 == 0 || r->fds[i] != r->fds[i - 1]))
            vmctl_io_close(r->loop, r->fds[i]);
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

static ssize_t direction_read(struct vmctl_relay_direction *d)
{
    ssize_t n;
    if (!d->copying) {
        do
            n = splice(d->from, NULL, d->pipe[1], NULL, RELAY_PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        while (n < 0 && errno == EINTR);
        if (n >= 0) {
            d->piped += (size_t)n;
            return n ? n : VMCTL_EOF;
        }
        if (errno != EINVAL && errno != ENOSYS)
            return -errno;
        d->copying = true; /* this kind of fd cannot splice */
    }
    int err = vmctl_buf_reserve(&d->buf, RELAY_COPY);
    if (err)
        return err;
    struct iovec iov = { d->buf.data + d->buf.end, RELAY_COPY };
    n = vmctl_sys_readv(d->from, &iov, 1, false);
    if (n > 0)
        d->buf.end += (size_t)n;
    return n ? n : VMCTL_EOF;
}

/* A terminal's first EIO may come before its last bytes, as in stream_read.c. */
static ssize_t direction_take(struct vmctl_relay_direction *d)
{
    ssize_t n = direction_read(d);
    return n == -EIO ? direction_read(d) : n;
}

/* The caller has SIGPIPE blocked. */
static ssize_t direction_put(struct vmctl_relay_direction *d)
{
    ssize_t n;
    if (vmctl_buf_len(&d->buf)) {
        struct iovec iov = { vmctl_buf_head(&d->buf), vmctl_buf_len(&d->buf) };
        n = vmctl_sys_writev(d->to, &iov, 1, d->to_socket);
        if (n > 0)
            vmctl_buf_consume(&d->buf, (size_t)n);
        return n;
    }
    do
        n = splice(d->pipe[0], NULL, d->to, NULL, d->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    d->piped -= (size_t)n;
    return n;
}

static void direction_finish(struct vmctl_relay_direction *d)
{
    struct vmctl_relay *r = d->relay;
    d->done = true;
    direction_stop(d);
    if (d->to_socket) {
        shutdown(d->to, SHUT_WR);
    } else {
        int side = d == &r->direction[0] ? 2 : 0; /* a pipe ends by closing it; a fd of both directions has to wait */
        if (r->fds[side + 1] != r->fds[side]) {
            vmctl_io_close(r->loop, r->fds[side + 1]);
            r->fds[side + 1] = -1;
        }
    }
    if (r->direction[0].done && r->direction[1].done) {
        vmctl_relay_close(r, r->err);
    } else {
        r->half = vmctl_loop_now(r->loop);
        relay_arm(r);
    }
}

/* The receiver of this direction is gone. The other direction goes on: it delivers what that peer sent before. */
static void direction_break(struct vmctl_relay_direction *d, int err)
{
    struct vmctl_relay *r = d->relay;
    int side = d == &r->direction[0] ? 0 : 2;
    r->err = err;
    d->piped = 0;
    vmctl_buf_consume(&d->buf, vmctl_buf_len(&d->buf));
    direction_stop(d);
    if (r->fds[side] == r->fds[side + 1]) {
        shutdown(d->from, SHUT_RD); /* so that its writer sees it, too; a terminal has no shutdown */
    } else if (r->fds[side] >= 0) {
        vmctl_io_close(r->loop, r->fds[side]);
        r->fds[side] = -1;
    }
    direction_finish(d);
}

static bool direction_full(const struct vmctl_relay_direction *d)
{
    return vmctl_buf_len(&d->buf) || d->piped;
}

static void direction_wait(struct vmctl_relay_direction *d)
{
    struct vmctl_loop *loop = d->relay->loop;
    vmctl_io_stop(loop, direction_full(d) ? &d->rio : &d->wio);
    vmctl_io_start(loop, direction_full(d) ? &d->wio : &d->rio);
}

static void on_direction_nap(struct vmctl_timer *t)
{
    direction_wait(VMCTL_CONTAINER(t, struct vmctl_relay_direction, nap));
}

static void direction_nap(struct vmctl_relay_direction *d)
{
    direction_stop(d);
    if (vmctl_timer_set(d->relay->loop, &d->nap, vmctl_loop_now(d->relay->loop) + RELAY_NAP) != 0)
        direction_wait(d);
}

/* 0: go on when an fd is ready; 1: this direction, or the relay, is over */
static int direction_moves(struct vmctl_relay_direction *d)
{
    struct vmctl_relay *r = d->relay;
    for (int i = 0; i < RELAY_BURST; i++) {
        bool full = direction_full(d);
        ssize_t n = full ? direction_put(d) : d->ended ? 0 : direction_take(d);
        if (n > 0) {
            d->bytes += full ? (size_t)n : 0;
        } else if (n == VMCTL_EOF || (n == -EIO && !full) || (n == -ECONNRESET && !full && d->ended)) {
            d->ended = true;
        } else if (n == -EAGAIN) {
            direction_wait(d);
            return 0;
        } else if (n == -ENOBUFS || n == -ENOMEM) {
            direction_nap(d);
            return 0;
        } else if (full && (n == -EPIPE || n == -ECONNRESET)) {
            d->broken = true;
            direction_break(d, (int)n);
            return 1;
        } else if (n < 0) {
            vmctl_relay_close(r, (int)n);
            return 1;
        }
        if (d->ended && !direction_full(d)) {
            direction_finish(d);
            return 1;
        }
    }
    direction_wait(d);
    return 0;
}

static void direction_run(struct vmctl_relay_direction *d)
{
    struct vmctl_relay *r = d->relay;
    struct vmctl_sigpipe guard;
    uint64_t before = d->bytes;
    vmctl_sigpipe_block(&guard);
    int over = direction_moves(d);
    vmctl_sigpipe_restore(&guard, over && d->broken);
    if (!r->over && d->bytes != before && !isinf(r->idle)) {
        r->moved = vmctl_loop_now(r->loop);
        relay_arm(r);
    }
}

static void on_direction(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    struct vmctl_relay_direction *d = io->data;
    int failed = vmctl_io_failed(d->relay->loop, io, events);
    if (!failed)
        direction_run(d);
    else if (failed != -EAGAIN)
        vmctl_relay_close(d->relay, failed);
}

/* Starting */

static int direction_open(struct vmctl_relay_direction *d, struct vmctl_stream *from, struct vmctl_stream *to)
{
    d->from = from->rfd;
    d->to = to->wfd;
    d->to_socket = to->kind == VMCTL_STREAM_SOCKET;
    d->ended = from->rfd < 0;
    vmctl_buf_init(&d->buf, SIZE_MAX / 2);
    ev_io_init(&d->rio, on_direction, d->from, EV_READ);
    ev_io_init(&d->wio, on_direction, d->to, EV_WRITE);
    d->rio.data = d->wio.data = d;
    int err = vmctl_buf_append(&d->buf, vmctl_buf_head(&to->out), vmctl_buf_len(&to->out));
    if (!err)
        err = vmctl_buf_append(&d->buf, vmctl_buf_head(&from->in), vmctl_buf_len(&from->in));
    if (!err && pipe2(d->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        err = -errno;
    if (!err)
        fcntl(d->pipe[0], F_SETPIPE_SZ, RELAY_PIPE);
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
    int err = direction_open(&r->direction[0], a, b);
    if (!err)
        err = direction_open(&r->direction[1], b, a);
    if (err) {
        direction_close(&r->direction[0]);
        direction_close(&r->direction[1]);
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
        struct vmctl_relay_direction *d = &r->direction[i];
        if (d->to < 0 || (d->ended && !vmctl_buf_len(&d->buf)))
            direction_finish(d);
        else
            vmctl_io_start(r->loop, vmctl_buf_len(&d->buf) ? &d->wio : &d->rio);
    }
    relay_arm(r);
    return 0;
}
