/* A byte stream on the loop: opening and closing. */
#include "io/stream.h"

#include "io/stream_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_close(struct vmctl_handle *h)
{
    vmctl_stream_close(VMCTL_CONTAINER(h, struct vmctl_stream, handle));
}

static void on_nap_over(struct vmctl_timer *t)
{
    struct vmctl_stream *s = VMCTL_CONTAINER(t, struct vmctl_stream, nap);
    if (vmctl_waitq_busy(&s->readers))
        vmctl_io_start(s->loop, &s->rio);
    if (vmctl_buf_len(&s->out))
        vmctl_io_start(s->loop, &s->wio);
}

void vmctl_stream_init(struct vmctl_stream *s, struct vmctl_loop *loop)
{
    *s = (struct vmctl_stream){ .loop = loop, .rfd = -1, .wfd = -1, .rerr = VMCTL_ECLOSED, .werr = VMCTL_ECLOSED };
    s->handle.close = on_close;
    s->nap.expired = on_nap_over;
    s->unsent.run = vmctl_stream_on_unsent;
    vmctl_list_init(&s->unsent.link);
    vmctl_list_init(&s->handle.link);
    vmctl_waitq_init(&s->readers);
    vmctl_waitq_init(&s->writers);
    vmctl_buf_init(&s->in, VMCTL_STREAM_IN + VMCTL_SCRATCH);
    vmctl_buf_init(&s->out, SIZE_MAX / 2); /* bounded by its users: one frame, or one slice of a long write */
    ev_init(&s->rio, vmctl_stream_on_readable);
    ev_init(&s->wio, vmctl_stream_on_writable);
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
