/* c-epoll: one 64-byte frame in flight, sent back by the server; plain read, write and epoll_wait. */

#include "bench.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ROOM = 128 * 1024 };         /* holds any frame */

struct conn {
    int fd, epoll;
    size_t in_len, out_len;
    bool wants_out;
    uint8_t in[ROOM], out[ROOM];
};

static void conn_watch(struct conn *c, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = c };
    if (epoll_ctl(c->epoll, operation, c->fd, &event) < 0)
        bench_die("epoll_ctl");
}

static void conn_open(struct conn *c, int fd)
{
    c->fd = fd;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0)
        bench_die("epoll_create1");
    bench_set_nonblocking(fd);
    conn_watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void conn_wait(struct conn *c)
{
    struct epoll_event event;
    while (epoll_wait(c->epoll, &event, 1, -1) < 0)
        if (errno != EINTR)
            bench_die("epoll_wait");
}

/* False at end of stream. */
static bool conn_read(struct conn *c)
{
    ssize_t n = read(c->fd, c->in + c->in_len, sizeof c->in - c->in_len);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        bench_die("read");
    if (n > 0)
        c->in_len += (size_t)n;
    return n != 0;
}

/* Bytes that the socket does not take stay in `out`, and EPOLLOUT replaces EPOLLIN until they are gone. */
static void conn_flush(struct conn *c)
{
    ssize_t n = write(c->fd, c->out, c->out_len);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        bench_die("write");
    if (n > 0) {
        c->out_len -= (size_t)n;
        memmove(c->out, c->out + n, c->out_len);
    }
    bool wants_out = c->out_len > 0;
    if (wants_out != c->wants_out)
        conn_watch(c, EPOLL_CTL_MOD, wants_out ? EPOLLOUT : EPOLLIN);
    c->wants_out = wants_out;
}

/* Answers each complete frame. `out` is empty here and as large as `in`, so the answers fit. */
static void conn_echo(struct conn *c)
{
    struct bench_frame frame;
    size_t used = 0, n;
    while ((n = bench_frame_peek(c->in + used, c->in_len - used, &frame)) > 0) {
        c->out_len += bench_frame_put(c->out + c->out_len, frame.type, frame.payload, frame.length);
        used += n;
    }
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
}

static void serve(struct conn *c, const char *path)
{
    int listener = bench_listen(path);
    bench_ready();
    conn_open(c, bench_accept(listener));
    for (;;) {
        conn_wait(c);
        if (!c->wants_out) {
            if (!conn_read(c))
                return;
            conn_echo(c);
        }
        if (c->out_len > 0)
            conn_flush(c);
    }
}

static void call(struct conn *c, const uint8_t *payload)
{
    struct bench_frame frame;
    size_t n;
    c->out_len = bench_frame_put(c->out, BENCH_DATA, payload, BENCH_PAYLOAD);
    conn_flush(c);
    do {
        conn_wait(c);
        if (c->wants_out)
            conn_flush(c);
        else if (!conn_read(c))
            bench_die_text("the server closed the connection");
    } while ((n = bench_frame_peek(c->in, c->in_len, &frame)) == 0);
    if (n != c->in_len || frame.length != BENCH_PAYLOAD || memcmp(frame.payload, payload, BENCH_PAYLOAD) != 0)
        bench_die_text("not the frame that was sent");
    c->in_len = 0;
}

static void measure(struct conn *c, const char *path, long warmup, long count)
{
    uint8_t payload[BENCH_PAYLOAD];
    memset(payload, 'x', sizeof payload);
    conn_open(c, bench_dial(path));
    for (long i = 0; i < warmup; i++)
        call(c, payload);
    double start = bench_now();
    for (long i = 0; i < count; i++)
        call(c, payload);
    bench_result("rate", (double)count / (bench_now() - start));
}

int main(int argc, char **argv)
{
    static struct conn conn;
    if (argc != 5)
        bench_die_text("usage: echo_epoll server|client SOCKET WARMUP COUNT");
    if (strcmp(argv[1], "server") == 0)
        serve(&conn, argv[2]);
    else
        measure(&conn, argv[2], bench_count(argv[3]), bench_count(argv[4]));
    return 0;
}
