/*
 * Drives any relay that listens on one socket and dials another: pushes BYTES through it in each direction at the same
 * time, ends each direction by half-close, and checks that all came out at the other side.
 */

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

struct side {
    int fd;
    size_t unsent, received;
    bool ended;                     /* the other side's end of stream has come through */
    uint8_t expected;               /* every byte of a direction is the same one */
    uint8_t out[CHUNK];
};

static bool side_send(struct side *s)
{
    if (s->unsent == 0)
        return false;
    ssize_t n = write(s->fd, s->out, s->unsent < CHUNK ? s->unsent : CHUNK);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        bench_die("write");
    if (n <= 0)
        return false;
    s->unsent -= (size_t)n;
    if (s->unsent == 0 && shutdown(s->fd, SHUT_WR) < 0)
        bench_die("shutdown");
    return true;
}

static bool side_receive(struct side *s)
{
    static uint8_t in[CHUNK];
    if (s->ended)
        return false;
    ssize_t n = read(s->fd, in, sizeof in);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        bench_die("read");
    if (n < 0)
        return false;
    if (n > 0 && (in[0] != s->expected || in[n - 1] != s->expected))
        bench_die_text("bytes of another direction");
    s->received += (size_t)n;
    s->ended = n == 0;
    return true;
}

static void side_open(struct side *s, int fd, size_t bytes, char fill, char expected)
{
    s->fd = fd;
    s->unsent = bytes;
    s->expected = (uint8_t)expected;
    memset(s->out, fill, sizeof s->out);
    bench_set_nonblocking(fd);
}

static void wait_for(const struct side *a, const struct side *b)
{
    struct pollfd fds[2];
    const struct side *sides[2] = { a, b };
    for (int i = 0; i < 2; i++) {
        int events = (sides[i]->unsent > 0 ? POLLOUT : 0) | (sides[i]->ended ? 0 : POLLIN);
        fds[i] = (struct pollfd){ .fd = events ? sides[i]->fd : -1, .events = (short)events };
    }
    if (poll(fds, 2, -1) < 0 && errno != EINTR)
        bench_die("poll");
}

int main(int argc, char **argv)
{
    static struct side near, far;
    if (argc != 4)
        bench_die_text("usage: relay_driver LISTEN DIAL BYTES, the two sockets as the relay sees them");
    size_t bytes = (size_t)bench_count(argv[3]);
    int listener = bench_listen(argv[2]);
    int fd = bench_dial(argv[1]);
    side_open(&near, fd, bytes, 'n', 'f');
    side_open(&far, bench_accept(listener), bytes, 'f', 'n');
    double start = bench_now();
    while (!near.ended || !far.ended) {
        bool moved = side_send(&near);
        moved = side_receive(&far) || moved;
        moved = side_send(&far) || moved;
        moved = side_receive(&near) || moved;
        if (!moved)
            wait_for(&near, &far);
    }
    double seconds = bench_now() - start;
    if (near.received != bytes || far.received != bytes)
        bench_die_text("the relay lost bytes");
    bench_result("mib_rate", 2 * (double)bytes / (1024 * 1024) / seconds);
    return 0;
}
