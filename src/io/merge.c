/* The merge: takes turns among its sources and moves one frame at a time, by splice where it can. */
#include "io/merge.h"

#include "io/sysio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { MERGE_BURST = 8 }; /* frames before the loop gets its turn */

static void merge_run(struct vmctl_merge *f);

/* Looks at all sources in the order of the list: a command that writes to its stdout and then to its stderr wakes us in any order. */
static void merge_look_at_all(struct vmctl_merge *f)
{
    f->turn = 0;
    for (int i = 0; i < f->sources; i++) {
        f->source[i].ready = true;
        vmctl_list_remove(&f->source[i].waiter.link);
    }
}

static void on_source(struct vmctl_waiter *w, int why)
{
    struct vmctl_merge_source *src = VMCTL_CONTAINER(w, struct vmctl_merge_source, waiter);
    if (why && why != VMCTL_ECLOSED) {
        vmctl_merge_stop(src->merge, why);
        return;
    }
    src->ready = true;
    if (why == VMCTL_ECLOSED)
        src->ended = true;
    merge_look_at_all(src->merge);
    merge_run(src->merge);
}

static void on_room(struct vmctl_waiter *w, int why)
{
    struct vmctl_merge *f = VMCTL_CONTAINER(w, struct vmctl_merge, waiter);
    if (why)
        vmctl_merge_stop(f, why);
    else
        merge_run(f);
}

void vmctl_merge_init(struct vmctl_merge *f)
{
    *f = (struct vmctl_merge){ .current = -1, .over = true };
    f->waiter.wake = on_room;
    vmctl_list_init(&f->waiter.link);
    vmctl_waitq_init(&f->waiters);
}

int vmctl_merge_add(struct vmctl_merge *f, struct vmctl_stream *from, uint32_t type)
{
    if (f->sources == VMCTL_MERGE_SOURCES)
        return -E2BIG;
    if (vmctl_waitq_busy(&from->readers))
        return -EBUSY;
    struct vmctl_merge_source *src = &f->source[f->sources++];
    *src = (struct vmctl_merge_source){ .merge = f, .stream = from, .type = type, .ready = true };
    src->waiter.wake = on_source;
    vmctl_list_init(&src->waiter.link);
    return 0;
}

void vmctl_merge_stop(struct vmctl_merge *f, int err)
{
    if (f->over)
        return;
    f->over = true;
    f->err = err;
    vmctl_list_remove(&f->waiter.link);
    for (int i = 0; i < f->sources; i++) {
        vmctl_list_remove(&f->source[i].waiter.link);
        f->source[i].stream->raw = false;
    }
    if (f->left && !f->to->werr)
        f->to->werr = -EPIPE;
    vmctl_wake_all(&f->waiters, 0);
}

static void merge_await_room(struct vmctl_merge *f)
{
    if (vmctl_list_empty(&f->waiter.link))
        vmctl_waitq_add(&f->to->writers, &f->waiter);
    if (!f->to->nap.slot)
        vmctl_io_start(f->to->loop, &f->to->wio);
}

static void merge_await_source(struct vmctl_merge_source *src)
{
    src->ready = false;
    if (vmctl_list_empty(&src->waiter.link))
        vmctl_waitq_add(&src->stream->readers, &src->waiter);
    vmctl_stream_want(src->stream, 1);
}

/* True if bytes are missing in the pipe, which had as many as the frame's header says: a command that has opened its own output again has
 * read some. Then the frame can never be completed. */
static bool merge_robbed(const struct vmctl_merge_source *src)
{
    int held = 0;
    return ioctl(src->stream->rfd, FIONREAD, &held) == 0 && held == 0;
}

/* Moves the rest of a frame whose header is written. 0, -EAGAIN when there is no room, or an error. */
static int merge_splice(struct vmctl_merge *f, struct vmctl_merge_source *src)
{
    while (f->left) {
        ssize_t n = splice(src->stream->rfd, NULL, f->to->wfd, NULL, f->left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == ENOBUFS)
            return -EAGAIN;
        if (n == 0 || (n < 0 && errno == EAGAIN && merge_robbed(src)))
            return -EPROTO;
        if (n < 0)
            return -errno;
        f->left -= (size_t)n;
        f->to->bytes_out += (size_t)n;
        src->stream->bytes_in += (size_t)n;
    }
    f->current = -1;
    return 0;
}

/* Begins a frame of a pipe's bytes: its length, the number of bytes in the pipe, is known before a byte is moved. */
static int merge_pipe_frame(struct vmctl_merge *f, int i, size_t held)
{
    struct vmctl_merge_source *src = &f->source[i];
    struct vmctl_frame frame = { .type = src->type, .size = held < VMCTL_MERGE_FRAME ? held : VMCTL_MERGE_FRAME };
    uint8_t head[VMCTL_FRAME_HEAD_MAX];
    struct iovec iov = { head, vmctl_frame_put_head(&f->to->format, head, &frame) };
    int err = vmctl_stream_send(f->to, &iov, 1);
    if (err)
        return err;
    f->current = i;
    f->left = frame.size;
    return vmctl_buf_len(&f->to->out) ? -EAGAIN : merge_splice(f, src);
}

static int merge_buffer_frame(struct vmctl_merge *f, struct vmctl_merge_source *src)
{
    size_t held = vmctl_buf_len(&src->stream->in);
    struct vmctl_frame frame = { .type = src->type, .size = held < VMCTL_MERGE_FRAME ? held : VMCTL_MERGE_FRAME };
    int err = vmctl_stream_send_frame(f->to, &frame, vmctl_buf_head(&src->stream->in));
    if (!err)
        vmctl_buf_consume(&src->stream->in, frame.size);
    return err;
}

/* Moves one frame of a source. -EAGAIN: `to` has no room. An empty source is awaited, or has ended; another error, of it or of `to`,
 * ends the merge. */
static int merge_frame(struct vmctl_merge *f, int i)
{
    struct vmctl_merge_source *src = &f->source[i];
    struct vmctl_stream *from = src->stream;
    int held = 0;
    if (!vmctl_buf_len(&from->in)) {
        if (f->splice && from->rfd >= 0 && ioctl(from->rfd, FIONREAD, &held) == 0 && held > 0)
            return merge_pipe_frame(f, i, (size_t)held);
        ssize_t got = vmctl_stream_fill(from, 0, true);
        if (got == -EAGAIN)
            merge_await_source(src);
        else if (got == VMCTL_EOF || got == VMCTL_ECLOSED)
            src->ended = true;
        else if (got < 0) /* its bytes are lost: that must not look like its end */
            return (int)got;
        if (got <= 0)
            return 0;
    }
    return merge_buffer_frame(f, src);
}

static void merge_close_source(struct vmctl_merge_source *src)
{
    src->ended = true;
    src->stream->raw = false;
    vmctl_list_remove(&src->waiter.link);
    vmctl_stream_close(src->stream);
}

/* Chooses the next source between two frames. -1: none has bytes; -2: all have ended. */
static int merge_next(struct vmctl_merge *f)
{
    bool alive = false;
    for (int k = 0; k < f->sources; k++) {
        int i = (f->turn + k) % f->sources;
        if (f->source[i].dropped && !f->source[i].ended)
            merge_close_source(&f->source[i]);
        if (f->source[i].ended)
            continue;
        alive = true;
        if (f->source[i].ready) {
            f->turn = (i + 1) % f->sources;
            return i;
        }
    }
    return alive ? -1 : -2;
}

/* Moves frames. 0: it has to wait; 1: all is written; else an error of `to` or of a source. */
static int merge_moves(struct vmctl_merge *f)
{
    for (int n = 0; n < MERGE_BURST; n++) {
        if (f->to->werr)
            return f->to->werr;
        int err = vmctl_buf_len(&f->to->out) ? -EAGAIN : f->left ? merge_splice(f, &f->source[f->current]) : 0;
        if (!err) {
            int i = f->finishing ? -2 : merge_next(f);
            if (i < 0)
                return i == -2;
            err = merge_frame(f, i);
        }
        if (err == -EAGAIN)
            break;
        if (err)
            return err;
    }
    merge_await_room(f); /* after a whole burst as well: the loop comes back at once, and others had their turn */
    return 0;
}

static void merge_run(struct vmctl_merge *f)
{
    struct vmctl_sigpipe guard;
    vmctl_sigpipe_block(&guard);
    int err = merge_moves(f);
    vmctl_sigpipe_restore(&guard, err == -EPIPE);
    if (err)
        vmctl_merge_stop(f, err == 1 ? 0 : err);
}

int vmctl_merge_start(struct vmctl_merge *f, struct vmctl_stream *to)
{
    if (vmctl_waitq_busy(&to->writers))
        return -EBUSY;
    if (!to->format.head || to->werr)
        return to->werr ? to->werr : -EINVAL;
    f->to = to;
    f->splice = to->kind == VMCTL_STREAM_SOCKET;
    f->over = false;
    for (int i = 0; i < f->sources; i++) {
        f->source[i].stream->raw = true;
        f->splice = f->splice && f->source[i].stream->kind == VMCTL_STREAM_PIPE;
    }
    merge_run(f);
    return 0;
}

void vmctl_merge_drop(struct vmctl_merge *f, const struct vmctl_stream *from)
{
    for (int i = 0; i < f->sources; i++)
        if (f->source[i].stream == from)
            f->source[i].dropped = true;
    if (!f->over)
        merge_run(f);
}

void vmctl_merge_finish(struct vmctl_merge *f)
{
    f->finishing = true;
    if (!f->over)
        merge_run(f);
}

bool vmctl_merge_idle(const struct vmctl_merge *f)
{
    return !f->over && !f->left && !vmctl_buf_len(&f->to->out) && vmctl_list_empty(&f->waiter.link);
}
