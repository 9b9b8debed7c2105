/* splice: accepts one connection, dials the other side, and splices both ways through two pipes. */

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than a Unix socket holds by default: a longer pipe was tried and is no faster, one of 64 KiB a sixth slower. */
enum { CHUNK = 256 * 1024, PIPE_IN = 0, PIPE_OUT = 1 };

struct half {
    int from, to, pipe[2];          /* read from pipe[PIPE_IN], write to pipe[PIPE_OUT] */
    size_t held;                    /* bytes in the pipe */
    bool ended;                     /* `from` has reached its end */
    bool done;                      /* and `to` was told so */
};

/* Bytes moved, 0 at end of stream, -1 when it would block. */
static ssize_t move(int from, int to, size_t most)
{
    ssize_t n;
    do {
        n = splice(from, NULL, to, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        bench_die("splice");
    return n;
}

/* True when anything moved. The pipe is filled only when it is empty, so a full one is never mistaken for an idle socket. */
static bool half_pump(struct half *h)
{
    ssize_t in = 0, out = 0;
    if (h->held == 0 && !h->ended) {
        in = move(h->from, h->pipe[PIPE_OUT], CHUNK);
        h->ended = in == 0;
        h->held = in > 0 ? (size_t)in : 0;
    }
    if (h->held > 0) {
        out = move(h->pipe[PIPE_IN], h->to, h->held);
        h->held -= out > 0 ? (size_t)out : 0;
    }
    if (h->ended && h->held == 0 && !h->done) {
        shutdown(h->to, SHUT_WR);
        h->done = true;
    }
    return in > 0 || out > 0;
}

static void wait_for(const struct half *h, const struct half *back)
{
    struct pollfd fds[2] = { { .fd = h->from }, { .fd = h->to } };
    const struct half *halves[2] = { h, back };
    for (int i = 0; i < 2; i++) {
        if (halves[i]->held > 0)
            fds[!i].events |= POLLOUT;
        else if (!halves[i]->ended)
            fds[i].events |= POLLIN;
    }
    if (poll(fds, 2, -1) < 0 && errno != EINTR)
        bench_die("poll");
}

static struct half half_open(int from, int to)
{
    struct half h = { .from = from, .to = to };
    if (pipe2(h.pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        bench_die("pipe2");
    (void)fcntl(h.pipe[PIPE_OUT], F_SETPIPE_SZ, CHUNK);         /* refused over the user's quota: slower, still right */
    return h;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        bench_die_text("usage: relay_splice LISTEN DIAL");
    int listener = bench_listen(argv[1]);
    bench_ready();
    int near = bench_accept(listener), far = bench_dial(argv[2]);
    bench_set_nonblocking(near);
    bench_set_nonblocking(far);
    struct half there = half_open(near, far), back = half_open(far, near);
    while (!there.done || !back.done) {
        bool moved = half_pump(&there);
        moved = half_pump(&back) || moved;
        if (!moved && !(there.done && back.done))
            wait_for(&there, &back);
    }
    return 0;
}
