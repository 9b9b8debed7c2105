/*
 * c-libev: 64-byte frames one way, at most 64 in flight, each end in a libev loop. The sender builds a window of 64 frames
 * one by one and writes them together; the receiver handles each frame by itself, and answers a whole window with one
 * empty ACK frame, which lets the next window go. The receiver measures.
 */

#include "bench.h"

#include <errno.h>
#include <ev.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 64, ROOM = 128 * 1024 };

struct end {
    ev_io readable, writable;
    int fd;
    long warmup, frames;            /* frames before the clock starts, and in all */
    long done;                      /* sent, or received */
    size_t in_len, out_len, out_sent;
    size_t bytes;                   /* payload bytes received */
    double start;
    uint8_t in[ROOM], out[ROOM];
};

static void end_flush(struct ev_loop *loop, struct end *e)
{
    ssize_t n = write(e->fd, e->out + e->out_sent, e->out_len - e->out_sent);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        bench_die("write");
    if (n > 0)
        e->out_sent += (size_t)n;
    if (e->out_sent < e->out_len) {
        ev_io_start(loop, &e->writable);
        return;
    }
    ev_io_stop(loop, &e->writable);
    e->out_len = e->out_sent = 0;
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
    (void)events;
    end_flush(loop, w->data);
}

static void send_window(struct ev_loop *loop, struct end *e)
{
    uint8_t payload[BENCH_PAYLOAD];
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < WINDOW; i++)
        e->out_len += bench_frame_put(e->out + e->out_len, BENCH_DATA, payload, sizeof payload);
    e->done += WINDOW;
    end_flush(loop, e);
}

static void sender_take(struct ev_loop *loop, struct end *e, const struct bench_frame *frame)
{
    if (frame->type != BENCH_ACK)
        bench_die_text("ACK expected");
    if (e->done < e->frames)
        send_window(loop, e);
    else
        ev_break(loop, EVBREAK_ALL);
}

static void receiver_take(struct ev_loop *loop, struct end *e, const struct bench_frame *frame)
{
    if (frame->type != BENCH_DATA || frame->payload[0] != 'x')
        bench_die_text("data expected");
    e->bytes += frame->length;
    e->done++;
    if (e->done % WINDOW == 0) {
        e->out_len += bench_frame_put(e->out + e->out_len, BENCH_ACK, "", 0);
        end_flush(loop, e);
    }
    if (e->done == e->warmup)
        e->start = bench_now();
    if (e->done == e->frames) {
        bench_result("rate", (double)(e->frames - e->warmup) / (bench_now() - e->start));
        ev_break(loop, EVBREAK_ALL);
    }
}

typedef void take_fn(struct ev_loop *loop, struct end *e, const struct bench_frame *frame);

static void end_read(struct ev_loop *loop, struct end *e, take_fn *take)
{
    struct bench_frame frame;
    size_t used = 0, size;
    ssize_t n = read(e->fd, e->in + e->in_len, sizeof e->in - e->in_len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        bench_die("read");
    if (n == 0)
        bench_die_text("the other end closed the connection");
    e->in_len += (size_t)n;
    while ((size = bench_frame_peek(e->in + used, e->in_len - used, &frame)) > 0) {
        take(loop, e, &frame);
        used += size;
    }
    e->in_len -= used;
    memmove(e->in, e->in + used, e->in_len);
}

static void on_ack(struct ev_loop *loop, ev_io *w, int events)
{
    (void)events;
    end_read(loop, w->data, sender_take);
}

static void on_data(struct ev_loop *loop, ev_io *w, int events)
{
    (void)events;
    end_read(loop, w->data, receiver_take);
}

static void run(struct end *e, int fd, int is_receiver)
{
    struct ev_loop *loop = ev_default_loop(0);
    e->fd = fd;
    bench_set_nonblocking(fd);
    ev_io_init(&e->readable, is_receiver ? on_data : on_ack, fd, EV_READ);
    ev_io_init(&e->writable, on_writable, fd, EV_WRITE);
    e->readable.data = e->writable.data = e;
    ev_io_start(loop, &e->readable);
    if (!is_receiver)
        send_window(loop, e);
    ev_run(loop, 0);
}

int main(int argc, char **argv)
{
    static struct end end;
    if (argc != 5)
        bench_die_text("usage: stream_libev server|client SOCKET WARMUP COUNT");
    end.warmup = bench_count(argv[3]);
    end.frames = end.warmup + bench_count(argv[4]);
    if (end.warmup % WINDOW || end.frames % WINDOW)
        bench_die_text("WARMUP and COUNT must be multiples of 64");
    if (strcmp(argv[1], "server") == 0) {
        int listener = bench_listen(argv[2]);
        bench_ready();
        run(&end, bench_accept(listener), 1);
    } else {
        run(&end, bench_dial(argv[2]), 0);
    }
    return 0;
}
