/* Writing to a stream: sends its output buffer, and wakes waiting writers. */
#include "io/stream_blocks.h"
#include "io/stream_parts.h"
#include "io/sysio.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { STREAM_SMALL = 512 }; /* a frame up to this size is copied behind its header */

static const double STREAM_UNWATCHED_NAP = 0.1, STREAM_NOBUFS_NAP = 0.01; /* s */

static int stream_write_failed(struct vmctl_stream *s, int err)
{
    if (err == -EAGAIN)
        return err;
    if (err == -ENOBUFS || err == -ENOMEM) { /* AF_VSOCK and busy machines: polling would say "writable" at once */
        vmctl_stream_nap(s, &s->wio, STREAM_NOBUFS_NAP);
        return -EAGAIN;
    }
    s->werr = err;
    vmctl_buf_free(&s->out);
    vmctl_io_stop(s->loop, &s->wio);
    vmctl_wake_all(&s->writers, 0);
    return err;
}

/* The error for which nothing can be sent, or 0. In the child of a fork the connection is not ours. */
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

/* The kernel does not watch the fd: fails a waiting writer; queued bytes are tried again after a while. */
static void stream_unwatchable(struct vmctl_stream *s, int err)
{
    if (vmctl_buf_len(&s->out))
        vmctl_stream_nap(s, &s->wio, STREAM_UNWATCHED_NAP);
    vmctl_wake_all(&s->writers, err);
}

void vmctl_stream_on_writable(struct ev_loop *ev, ev_io *w, int events)
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
        vmctl_stream_nap(s, &s->wio, STREAM_NOBUFS_NAP);
}

bool vmctl_stream_on_unsent(struct vmctl_chore *c)
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
    if (err && sent) /* a frame is partly written and there is no memory for the rest: the peer cannot decode later bytes */
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
    if (frame->size <= STREAM_SMALL) { /* one piece: the kernel saves more than the copy costs */
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
