/* Reading from a stream: fills its input buffer, and wakes its reader. */
#include "io/stream_blocks.h"
#include "io/stream_parts.h"
#include "io/sysio.h"

#include <errno.h>

enum { STREAM_MISSES = 6 }; /* at worst one of 64 reads finds nothing */

static const double STREAM_ABSENT_NAP = 0.1; /* s: until a serial port without a peer is read again */

/* Notes the end of the stream, or an error: it is final, but comes after the buffered bytes. */
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
            return VMCTL_EOF; /* not final: the next peer finds the same stream */
        vmctl_stream_nap(s, &s->rio, STREAM_ABSENT_NAP);
        return -EAGAIN;
    }
    if (got == 0 || (got == -EIO && s->kind == VMCTL_STREAM_TTY))
        got = VMCTL_EOF;
    if (got != -ENOMEM) /* the kernel may have some later; all else is final */
        s->rerr = (int)got;
    vmctl_io_stop(s->loop, &s->rio);
    return got;
}

/* A terminal's first EIO may come before its last bytes: the kernel looks for bytes, then whether the other side is closed, and in between
 * that side can write and close. The next read gets what it wrote. */
static ssize_t stream_read(const struct vmctl_stream *s, const struct iovec *iov, int n)
{
    ssize_t got = vmctl_sys_readv(s->rfd, iov, n, s->kind == VMCTL_STREAM_SOCKET);
    if (got == -EIO && s->kind == VMCTL_STREAM_TTY)
        got = vmctl_sys_readv(s->rfd, iov, n, false);
    return got;
}

/* A peer on the same processor has often answered when we read: then reading at once saves a turn of the loop. After misses it is
 * tried ever more rarely. */
static void stream_learn(struct vmctl_stream *s, bool hit)
{
    s->misses = hit ? 0 : s->misses < STREAM_MISSES ? (uint8_t)(s->misses + 1) : s->misses;
    s->backoff = (uint8_t)((1U << s->misses) - 1);
}

/* Bytes land in the room that the buffer has and behind it in the loop's scratch, so that an idle stream needs no buffer
 * and a short message none but its own size. */
ssize_t vmctl_stream_fill(struct vmctl_stream *s, size_t want, bool force)
{
    if (s->rerr)
        return s->rerr;
    bool gamble = s->dry && !force;
    if (gamble && s->backoff) {
        s->backoff--;
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
    size_t most = s->in.max > len ? s->in.max - len : 0; /* for both pieces together: the buffer must have room for all bytes */
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
    ssize_t got = stream_read(s, first, room && over ? 2 : 1);
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

void vmctl_stream_on_readable(struct ev_loop *ev, ev_io *w, int events)
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
        s->dry = false; /* a later reader has to ask the kernel */
}

void vmctl_stream_want(struct vmctl_stream *s, size_t need)
{
    s->need = need;
    if (s->in.cap > VMCTL_STREAM_KEEP && !vmctl_buf_len(&s->in) && need <= VMCTL_STREAM_KEEP)
        vmctl_stream_give_up(s);
    if (!s->nap.slot)
        vmctl_io_start(s->loop, &s->rio);
}
