/* A byte stream on the loop: fills its input buffer, sends its output buffer, and wakes those who wait for either. */
#include "io/stream.h"

#include "io/stream_blocks.h"
#include "io/sysio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STREAM_MISSES = 6,  /* at worst one read of 64 is tried in vain */
    STREAM_SMALL = 512  /* a frame up to this size is copied behind its header */
};

static const double STREAM_NAP = 0.1, STREAM_NOBUFS_NAP = 0.01;

static void on_readable(struct ev_loop *ev, ev_io *w, int events);
static void on_writable(struct ev_loop *ev, ev_io *w, int events);
static void on_nap_over(struct vmctl_timer *t);
static bool on_unsent(struct vmctl_chore *c);

static void on_close(struct vmctl_handle *h)
{
    vmctl_stream_close(VMCTL_CONTAINER(h, struct vmctl_stream, handle));
}

void vmctl_stream_init(struct vmctl_stream *s, struct vmctl_loop *loop)
{
    *s = (struct vmctl_stream){ .loop = loop, .rfd = -1, .wfd = -1, .rerr = VMCTL_ECLOSED, .werr = VMCTL_ECLOSED };
    s->handle.close = on_close;
    s->nap.expired = on_nap_over;
    s->unsent.run = on_unsent;
    vmctl_list_init(&s->unsent.link);
    vmctl_list_init(&s->handle.link);
    vmctl_waitq_init(&s->readers);
    vmctl_waitq_init(&s->writers);
    vmctl_buf_init(&s->in, VMCTL_STREAM_IN + VMCTL_SCRATCH);
    vmctl_buf_init(&s->out, SIZE_MAX / 2); /* bounded by its users: one frame, or one slice of a long write */
    ev_init(&s->rio, on_readable);
    ev_init(&s->wio, on_writable);
}

void vmctl_stream_open(struct vmctl_stream *s, int rfd, int wfd, enum vmctl_stream_kind kind)
{
    s->rfd = rfd;
    s->wfd = wfd;
    s->kind = kind;
    s->rerr = rfd < 0 ? VMCTL_EOF : 0;
    s->werr = wfd < 0 ? -EPIPE : 0;
    struct stat st;
    int fd = rfd < 0 ? wfd : rfd;
    s->file = kind == VMCTL_STREAM_PIPE && fstat(fd, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode);
    s->loop->files += s->file;
    ev_io_set(&s->rio, rfd, EV_READ);
    ev_io_set(&s->wio, wfd, EV_WRITE);
    vmctl_handle_add(s->loop, &s->handle);
}

static void stream_unwatch(struct vmctl_stream *s)
{
    vmctl_io_stop(s->loop, &s->rio);
    vmctl_io_stop(s->loop, &s->wio);
    vmctl_timer_stop(s->loop, &s->nap);
    vmctl_list_remove(&s->unsent.link);
}

void vmctl_stream_release(struct vmctl_stream *s)
{
    stream_unwatch(s);
    if (s->rfd >= 0)
        vmctl_io_forget(s->loop, s->rfd);
    if (s->wfd >= 0 && s->wfd != s->rfd)
        vmctl_io_forget(s->loop, s->wfd);
    s->rfd = s->wfd = -1;
    s->loop->files -= s->file;
    s->file = false;
    s->rerr = s->werr = VMCTL_ECLOSED;
    vmctl_list_remove(&s->handle.link);
    vmctl_wake_all(&s->readers, VMCTL_ECLOSED);
    vmctl_wake_all(&s->writers, VMCTL_ECLOSED);
}

void vmctl_stream_close(struct vmctl_stream *s)
{
    if (vmctl_buf_len(&s->out))
        vmctl_stream_flush(s); /* this may end the sending side, and close its fd */
    int rfd = s->rfd, wfd = s->wfd;
    if (rfd >= 0 || wfd >= 0 || !vmctl_list_empty(&s->handle.link)) /* a pipe that was shut down has no fd any more */
        vmctl_stream_release(s); /* before close(2): the kernel may reuse the number at once */
    if (rfd >= 0)
        close(rfd);
    if (wfd >= 0 && wfd != rfd)
        close(wfd);
    s->rerr = s->werr = VMCTL_ECLOSED;
    if (s->bulk)
        vmctl_buf_free(&s->loop->spare);
    s->bulk = false;
    vmctl_buf_free(&s->in);
    vmctl_buf_free(&s->out);
}

void vmctl_stream_hang_up(struct vmctl_stream *s)
{
    if (s->kind != VMCTL_STREAM_SOCKET || s->rfd < 0 || !vmctl_loop_is_ours(s->loop))
        return;
    shutdown(s->rfd, SHUT_RDWR); /* so that the kernel, too, expects nothing more */
    stream_unwatch(s);
    if (!s->rerr)
        s->rerr = -ECONNRESET;
    if (!s->werr)
        s->werr = -ECONNRESET;
    vmctl_buf_free(&s->out);
    vmctl_wake_all(&s->readers, 0);
    vmctl_wake_all(&s->writers, 0);
}

void vmctl_stream_free(struct vmctl_stream *s)
{
    vmctl_stream_close(s);
    free(s->label);
    s->label = NULL;
}

/* Reading */

static void stream_nap(struct vmctl_stream *s, ev_io *w, double seconds)
{
    vmctl_io_stop(s->loop, w);
    if (!s->nap.slot)
        vmctl_timer_set(s->loop, &s->nap, vmctl_loop_now(s->loop) + seconds);
}

static void on_nap_over(struct vmctl_timer *t)
{
    struct vmctl_stream *s = VMCTL_CONTAINER(t, struct vmctl_stream, nap);
    if (vmctl_waitq_busy(&s->readers))
        vmctl_io_start(s->loop, &s->rio);
    if (vmctl_buf_len(&s->out))
        vmctl_io_start(s->loop, &s->wio);
}

/* The end of the stream, or an error: for good, but behind what is still buffered. */
static ssize_t stream_read_failed(struct vmctl_stream *s, ssize_t got)
{
    if (got == -EAGAIN) {
        s->dry = true;
        return -EAGAIN;
    }
    if (got == 0 && s->kind == VMCTL_STREAM_SERIAL) {
        s->dry = true;
        s->gone = s->gone || s->present;
        s->present = false;
        if (s->gone)
            return VMCTL_EOF; /* not for good: the next peer finds the same stream */
        stream_nap(s, &s->rio, STREAM_NAP);
        return -EAGAIN;
    }
    if (got == 0 || (got == -EIO && s->kind == VMCTL_STREAM_TTY))
        got = VMCTL_EOF;
    if (got != -ENOMEM) /* the kernel may have some later; all else is final */
        s->rerr = (int)got;
    vmctl_io_stop(s->loop, &s->rio);
    return got;
}

/* A peer on the same processor has often answered by the time that it is asked: then reading at once saves a turn of
 * the loop. Where that does not pay, it is tried ever more rarely. */
static void stream_learn(struct vmctl_stream *s, bool hit)
{
    s->misses = hit ? 0 : s->misses < STREAM_MISSES ? (uint8_t)(s->misses + 1) : s->misses;
    s->hold = (uint8_t)((1U << s->misses) - 1);
}

/* Bytes land in the room that the buffer has and behind it in the loop's scratch, so that an idle stream needs no buffer
 * and a short message none but its own size. */
ssize_t vmctl_stream_fill(struct vmctl_stream *s, size_t want, bool force)
{
    if (s->rerr)
        return s->rerr;
    bool gamble = s->dry && !force;
    if (gamble && s->hold) {
        s->hold--;
        return -EAGAIN;
    }
    if (s->bulk && s->in.cap <= VMCTL_STREAM_KEEP)
        vmctl_stream_take_spare(s);
    size_t len = vmctl_buf_len(&s->in), room = s->in.cap - s->in.end, over = VMCTL_SCRATCH;
    size_t step = len > VMCTL_SCRATCH ? len : VMCTL_SCRATCH; /* a size that is only announced costs the peer nothing */
    if (want > step)
        want = step;
    if (want > VMCTL_SCRATCH / 2 && room < want) {
        int err = vmctl_buf_reserve(&s->in, want);
        if (err)
            return err;
        room = s->in.cap - s->in.end;
    }
    size_t most = s->in.max > len ? s->in.max - len : 0; /* for both pieces together: what is read must find its place */
    if (!most)
        return -ENOBUFS;
    if (room > most)
        room = most;
    if (room <= VMCTL_STREAM_KEEP)
        room = 0; /* one piece is cheaper to read than two, and a short message cheap to copy */
    if (over > most - room)
        over = most - room;
    struct iovec iov[2] = { { s->in.data ? s->in.data + s->in.end : NULL, room }, { s->loop->scratch, over } };
    const struct iovec *first = room ? iov : iov + 1;
    ssize_t got = vmctl_sys_readv(s->rfd, first, room && over ? 2 : 1, s->kind == VMCTL_STREAM_SOCKET);
    if (gamble)
        stream_learn(s, got > 0);
    if (got <= 0)
        return stream_read_failed(s, got);
    size_t n = (size_t)got, direct = n < room ? n : room;
    s->dry = n < room + over;
    s->in.end += direct;
    if (n - direct > VMCTL_STREAM_KEEP)
        vmctl_stream_unshelve(s->loop, &s->in, n - direct);
    if (n > direct && vmctl_buf_append(&s->in, s->loop->scratch, n - direct) != 0) {
        s->rerr = -ENOMEM; /* bytes are lost: nothing after them would make sense */
        return -ENOMEM;
    }
    s->bytes_in += n;
    s->present = true;
    return got;
}

static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_stream *s = VMCTL_CONTAINER(w, struct vmctl_stream, rio);
    int failed = vmctl_io_failed(s->loop, w, events);
    if (failed == -EAGAIN)
        return;
    s->dry = false;
    if (!vmctl_waitq_busy(&s->readers)) { /* no reader: leave the bytes in the kernel, so that the peer has to wait */
        vmctl_io_stop(s->loop, w);
        return;
    }
    if (s->raw) {
        vmctl_wake_all(&s->readers, failed);
        return;
    }
    size_t len = vmctl_buf_len(&s->in);
    ssize_t got = vmctl_stream_fill(s, s->need > len ? s->need - len : 0, true);
    if ((got < 0 && got != -EAGAIN) || vmctl_buf_len(&s->in) >= s->need)
        vmctl_wake_all(&s->readers, 0);
    else if (failed)
        vmctl_wake_all(&s->readers, failed);
    if (failed)
        s->dry = false; /* who comes later has to ask the kernel */
}

void vmctl_stream_want(struct vmctl_stream *s, size_t need)
{
    s->need = need;
    if (s->in.cap > VMCTL_STREAM_KEEP && !vmctl_buf_len(&s->in) && need <= VMCTL_STREAM_KEEP)
        vmctl_stream_give_up(s);
    if (!s->nap.slot)
        vmctl_io_start(s->loop, &s->rio);
}

/* Writing */

static int stream_write_failed(struct vmctl_stream *s, int err)
{
    if (err == -EAGAIN)
        return err;
    if (err == -ENOBUFS || err == -ENOMEM) { /* AF_VSOCK and busy machines: polling would say "writable" at once */
        stream_nap(s, &s->wio, STREAM_NOBUFS_NAP);
        return -EAGAIN;
    }
    s->werr = err;
    vmctl_buf_free(&s->out);
    vmctl_io_stop(s->loop, &s->wio);
    vmctl_wake_all(&s->writers, 0);
    return err;
}

/* Why nothing can be sent. In the child of a fork the connection is not ours to speak on. */
static int stream_refuses(const struct vmctl_stream *s)
{
    if (s->werr)
        return s->werr;
    return vmctl_loop_is_ours(s->loop) ? 0 : VMCTL_ECLOSED;
}

static void stream_end_sending(struct vmctl_stream *s)
{
    s->shutting = false;
    s->werr = -EPIPE;
    vmctl_io_stop(s->loop, &s->wio);
    if (s->kind == VMCTL_STREAM_SOCKET) {
        shutdown(s->wfd, SHUT_WR);
        return;
    }
    if (s->wfd != s->rfd)
        vmctl_io_close(s->loop, s->wfd);
    s->wfd = -1;
}

int vmctl_stream_flush(struct vmctl_stream *s)
{
    int err = stream_refuses(s);
    if (err)
        return err;
    while (vmctl_buf_len(&s->out)) {
        struct iovec iov = { vmctl_buf_head(&s->out), vmctl_buf_len(&s->out) };
        ssize_t put = vmctl_sys_writev(s->wfd, &iov, 1, s->kind == VMCTL_STREAM_SOCKET);
        if (put < 0) {
            err = stream_write_failed(s, (int)put);
            if (err == -EAGAIN && !s->nap.slot)
                vmctl_io_start(s->loop, &s->wio);
            return err;
        }
        s->bytes_out += (size_t)put;
        vmctl_buf_consume(&s->out, (size_t)put);
    }
    if (s->out.cap > VMCTL_STREAM_HIGH || (s->out.cap > VMCTL_STREAM_KEEP && !s->corked))
        vmctl_stream_shelve(s->loop, &s->out);
    vmctl_io_stop(s->loop, &s->wio);
    if (s->shutting)
        stream_end_sending(s);
    return 0;
}

/* A waiting writer learns it; queued bytes are tried again after a while. */
static void stream_unwatchable(struct vmctl_stream *s, int err)
{
    if (vmctl_buf_len(&s->out))
        stream_nap(s, &s->wio, STREAM_NAP);
    vmctl_wake_all(&s->writers, err);
}

static void on_writable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_stream *s = VMCTL_CONTAINER(w, struct vmctl_stream, wio);
    int failed = vmctl_io_failed(s->loop, w, events);
    if (failed) {
        if (failed != -EAGAIN)
            stream_unwatchable(s, failed);
        return;
    }
    uint64_t before = s->bytes_out;
    if (vmctl_stream_flush(s) != -EAGAIN)
        vmctl_wake_all(&s->writers, 0);
    else if (s->kind == VMCTL_STREAM_SERIAL && s->bytes_out == before) /* hung up, which polls as writable */
        stream_nap(s, &s->wio, STREAM_NOBUFS_NAP);
}

static bool on_unsent(struct vmctl_chore *c)
{
    struct vmctl_stream *s = VMCTL_CONTAINER(c, struct vmctl_stream, unsent);
    bool waited_for = vmctl_waitq_busy(&s->writers);
    if (!vmctl_buf_len(&s->out) || vmctl_stream_flush(s) == -EAGAIN)
        return false;
    vmctl_wake_all(&s->writers, 0);
    return waited_for;
}

/* Corked output is flushed once per loop turn. */
static void stream_put_off(struct vmctl_stream *s)
{
    if (!ev_is_active(&s->wio) && !s->nap.slot)
        vmctl_chore_add(s->loop, &s->unsent);
}

static int stream_queue(struct vmctl_stream *s, const struct iovec *iov, int n, size_t skip, size_t total)
{
    vmctl_stream_unshelve(s->loop, &s->out, total - skip);
    int err = vmctl_buf_reserve(&s->out, total - skip);
    if (err)
        return err;
    for (int i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        vmctl_buf_append(&s->out, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        skip = 0;
    }
    return 0;
}

int vmctl_stream_send(struct vmctl_stream *s, const struct iovec *iov, int n)
{
    if (s->shutting || stream_refuses(s))
        return s->werr ? s->werr : s->shutting ? -EPIPE : VMCTL_ECLOSED;
    size_t total = 0, sent = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    bool queued = vmctl_buf_len(&s->out) > 0;
    if (!queued && !s->corked) {
        ssize_t put = vmctl_sys_writev(s->wfd, iov, n, s->kind == VMCTL_STREAM_SOCKET);
        int err = put < 0 ? stream_write_failed(s, (int)put) : 0;
        if (err && err != -EAGAIN)
            return err;
        sent = put > 0 ? (size_t)put : 0;
        s->bytes_out += sent;
        if (sent == total)
            return 0;
    }
    int err = stream_queue(s, iov, n, sent, total);
    if (err && sent) /* half a frame is out and the rest has no memory: the peer can never make sense of what follows */
        s->werr = err;
    if (err)
        return err;
    if (s->corked && vmctl_buf_len(&s->out) >= VMCTL_STREAM_CORK)
        vmctl_stream_flush(s);
    else if (s->corked)
        stream_put_off(s);
    else if (!s->nap.slot)
        vmctl_io_start(s->loop, &s->wio);
    return 0;
}

/* A frame on a corked stream that is far from full: nothing but two copies. */
static int stream_gather(struct vmctl_stream *s, const struct vmctl_frame *frame, const void *body)
{
    if (!s->out.cap)
        vmctl_stream_unshelve(s->loop, &s->out, s->format.head + frame->size);
    int err = vmctl_buf_reserve(&s->out, s->format.head + frame->size);
    if (err)
        return err;
    s->out.end += vmctl_frame_put_head(&s->format, s->out.data + s->out.end, frame);
    if (frame->size)
        memcpy(s->out.data + s->out.end, body, frame->size);
    s->out.end += frame->size;
    stream_put_off(s);
    return 0;
}

int vmctl_stream_send_frame(struct vmctl_stream *s, const struct vmctl_frame *frame, const void *body)
{
    if (frame->size > vmctl_frame_limit(&s->format, frame->type))
        return VMCTL_ETOOBIG;
    size_t total = s->format.head + frame->size;
    if (s->corked && !s->werr && !s->shutting && vmctl_buf_len(&s->out) + total < VMCTL_STREAM_CORK)
        return stream_gather(s, frame, body);
    uint8_t all[VMCTL_FRAME_HEAD_MAX + STREAM_SMALL];
    size_t len = vmctl_frame_put_head(&s->format, all, frame);
    if (frame->size <= STREAM_SMALL) { /* one piece: what the kernel saves is more than the copy costs */
        memcpy(all + len, body, frame->size);
        struct iovec one = { all, total };
        return vmctl_stream_send(s, &one, 1);
    }
    struct iovec iov[2] = { { all, len }, { (void *)body, frame->size } };
    return vmctl_stream_send(s, iov, 2);
}

int vmctl_stream_shutdown(struct vmctl_stream *s)
{
    if (s->werr)
        return s->werr == -EPIPE ? 0 : s->werr;
    s->shutting = true;
    return vmctl_stream_flush(s);
}
