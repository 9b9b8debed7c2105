/* c-loop: 64 KiB frames one way with blocking read and write, each frame written at once. The receiver measures. */

#include "bench.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { FRAME = BENCH_HEAD + BENCH_MAX };

static void read_exact(int fd, uint8_t *out, size_t want)
{
    while (want > 0) {
        ssize_t n = read(fd, out, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            bench_die("read");
        if (n == 0)
            bench_die_text("the sender closed the connection");
        out += n;
        want -= (size_t)n;
    }
}

static void write_all(int fd, const uint8_t *data, size_t left)
{
    while (left > 0) {
        ssize_t n = write(fd, data, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            bench_die("write");
        data += n;
        left -= (size_t)n;
    }
}

static void receive(int fd, long frames)
{
    static uint8_t in[FRAME];
    struct bench_frame frame;
    for (long i = 0; i < frames; i++) {
        read_exact(fd, in, sizeof in);
        if (bench_frame_peek(in, sizeof in, &frame) != sizeof in || frame.payload[BENCH_MAX - 1] != 'x')
            bench_die_text("not the frame that was sent");
    }
}

static void serve(const char *path, long warmup, long count)
{
    int listener = bench_listen(path);
    bench_ready();
    int fd = bench_accept(listener);
    receive(fd, warmup);
    double start = bench_now();
    receive(fd, count);
    double seconds = bench_now() - start;
    bench_result("mib_rate", (double)count * BENCH_MAX / (1024 * 1024) / seconds);
}

static void send_frames(const char *path, long frames)
{
    static uint8_t payload[BENCH_MAX], out[FRAME];
    memset(payload, 'x', sizeof payload);
    bench_frame_put(out, BENCH_DATA, payload, sizeof payload);
    int fd = bench_dial(path);
    for (long i = 0; i < frames; i++)
        write_all(fd, out, sizeof out);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        bench_die_text("usage: bulk_loop server|client SOCKET WARMUP COUNT");
    long warmup = bench_count(argv[3]), count = bench_count(argv[4]);
    if (strcmp(argv[1], "server") == 0)
        serve(argv[2], warmup, count);
    else
        send_frames(argv[2], warmup + count);
    return 0;
}
