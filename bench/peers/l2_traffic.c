/*
 * Sends through any Ethernet switch what guests send, and measures the switch: frames that come out of it a second, and a second of
 * its processor's time. All ports dial one socket. Usage: l2_traffic PATTERN PATH SIZE WARMUP COUNT
 *   burst      one sender, one receiver, 64 KiB of frames in a write
 *   single     the same with one frame a write, as QEMU writes them
 *   seven      seven receivers in turn
 *   broadcast  each frame to seven receivers
 *   macs       200 addresses behind the receiver's port
 */

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD = 4, ETHERNET = 14, SIZE_LONGEST = 9000,
    CHUNK = 64 * 1024,              /* of one write */
    ROOM = 256 * 1024,              /* of one read */
    RECEIVERS = 7, MACS = 200,
    SILENCE = 2000,                 /* milliseconds after which no frame is awaited any more */
    QUIET = 200                     /* the same, once the addresses were taught */
};

struct pattern {
    const char *name;
    int receivers, macs;            /* macs: of each receiver */
    bool single, broadcast;
};

static const struct pattern patterns[] = {
    { "burst", 1, 1, false, false }, { "single", 1, 1, true, false }, { "seven", RECEIVERS, 1, false, false },
    { "broadcast", RECEIVERS, 1, false, true }, { "macs", 1, MACS, false, false }
};

static int sender, receiver[RECEIVERS];

static void address_put(uint8_t *at, int who)
{
    memset(at, 0, 6);
    at[0] = 2;
    at[4] = (uint8_t)(who >> 8);
    at[5] = (uint8_t)who;
}

/* A frame of an experimental type, its length in front of it. The sender is 0; to below 0: to everybody. */
static void frame_put(uint8_t *out, int from, int to, size_t size)
{
    memset(out, 0, HEAD + size);
    out[2] = (uint8_t)(size >> 8);
    out[3] = (uint8_t)size;
    address_put(out + HEAD + 6, from);
    if (to < 0)
        memset(out + HEAD, 255, 6);
    else
        address_put(out + HEAD, to);
    out[HEAD + 12] = 0x88;
    out[HEAD + 13] = 0xb5;
}

static void write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            bench_die("write");
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void send_frames(const struct pattern *p, size_t size, long frames)
{
    static uint8_t out[CHUNK + HEAD + SIZE_LONGEST];
    size_t stride = HEAD + size, batch = CHUNK / stride;
    int to = 0, last = p->receivers * p->macs;
    while (frames > 0) {
        size_t now = (size_t)frames < batch ? (size_t)frames : batch;
        for (size_t i = 0; i < now; i++, to = (to + 1) % last)
            frame_put(out + i * stride, 0, p->broadcast ? -1 : to + 1, size);
        for (size_t i = 0; p->single && i < now; i++)
            write_all(sender, out + i * stride, stride);
        if (!p->single)
            write_all(sender, out, now * stride);
        frames -= (long)now;
    }
}

/* Counts the bytes that come to the receivers, until `most` or nothing for `silence` milliseconds; when the last one came. */
static size_t receive(int receivers, size_t most, int silence, double *end)
{
    static uint8_t in[ROOM];
    struct pollfd p[RECEIVERS];
    size_t bytes = 0;
    for (int i = 0; i < receivers; i++)
        p[i] = (struct pollfd){ .fd = receiver[i], .events = POLLIN };
    while (bytes < most && poll(p, (nfds_t)receivers, silence) > 0) {
        for (int i = 0; i < receivers; i++) {
            ssize_t n = p[i].revents ? read(receiver[i], in, ROOM) : 0;
            if (n < 0 || (p[i].revents && n == 0))
                bench_die_text("the switch closed a connection");
            bytes += (size_t)n;
        }
        *end = bench_now();
    }
    return bytes;
}

/* Each address says where it is, in a frame to everybody. */
static void teach(const struct pattern *p, size_t size)
{
    static uint8_t frame[HEAD + SIZE_LONGEST];
    static uint8_t in[ROOM];
    struct pollfd arrival = { .fd = sender, .events = POLLIN };
    double end;
    for (int i = 0; i < p->receivers * p->macs; i++) {
        frame_put(frame, i + 1, -1, size);
        write_all(receiver[i % p->receivers], frame, HEAD + size);
    }
    while (poll(&arrival, 1, QUIET) > 0) {
        if (read(sender, in, ROOM) <= 0)
            bench_die_text("the switch closed a connection");
    }
    receive(p->receivers, SIZE_MAX, QUIET, &end);
}

/* The processor's time that the switch, the peer of our sockets, has taken, in seconds. */
static double switch_time(void)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    clockid_t clock;
    struct timespec t;
    if (getsockopt(sender, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        bench_die("SO_PEERCRED");
    if (clock_getcpuclockid(peer.pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        bench_die_text("no clock of the switch");
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct outcome { double frames, share, seconds, busy; };

static struct outcome run(const struct pattern *p, size_t size, long frames)
{
    size_t expected = (size_t)frames * (p->broadcast ? (size_t)p->receivers : 1) * (HEAD + size);
    double begin = bench_now(), busy = switch_time(), end = begin;
    pid_t child = fork();
    if (child < 0)
        bench_die("fork");
    if (child == 0) {
        send_frames(p, size, frames);
        _exit(0);
    }
    size_t bytes = receive(p->receivers, expected, SILENCE, &end);
    int status;
    if (waitpid(child, &status, 0) < 0 || status != 0)
        bench_die_text("the sending process failed");
    return (struct outcome){
        .frames = (double)(bytes / (HEAD + size)), .share = (double)bytes / (double)expected, .seconds = end - begin,
        .busy = switch_time() - busy
    };
}

int main(int argc, char **argv)
{
    if (argc != 6)
        bench_die_text("usage: l2_traffic PATTERN PATH SIZE WARMUP COUNT");
    const struct pattern *p = NULL;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        p = strcmp(argv[1], patterns[i].name) == 0 ? &patterns[i] : p;
    long size = bench_count(argv[3]);
    if (!p || size < ETHERNET || size > SIZE_LONGEST)
        bench_die_text("no such pattern, or no such size");
    sender = bench_dial(argv[2]);
    for (int i = 0; i < p->receivers; i++)
        receiver[i] = bench_dial(argv[2]);
    teach(p, (size_t)size);
    run(p, (size_t)size, bench_count(argv[4]));
    struct outcome o = run(p, (size_t)size, bench_count(argv[5]));
    bench_result("rate", o.frames / o.seconds);
    bench_result("busy_rate", o.frames / o.busy);
    bench_result("busy_ns", o.busy * 1e9 / o.frames);
    bench_result("share", o.share);
    return 0;
}
