/*
 * Does a slow port of an Ethernet switch hold up the others? All ports dial one socket.
 *   fast PATH RATE  one port sends frames to two others in turn, as fast as they are taken. One of the two reads all. The result is
 *                   its rate while the other reads RATE bytes a second, and that by its rate while the other reads all.
 *   third PATH RATE one port floods another, which reads RATE bytes a second. A third sends 500 frames a second to a fourth, one
 *                   in 16 to everybody; the result is how long they take.
 * Both take WARMUP and COUNT seconds after these.
 */

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD = 4,
    SIZE = 1514,
    STRIDE = HEAD + SIZE,
    BATCH = 40,                     /* frames of a write */
    ROOM = 256 * 1024,
    STAMP = HEAD + 14,              /* where a frame says when it was sent */
    PORTS = 4,
    PACE = 500,                     /* frames a second */
    MOST = 60 * PACE
};

static int port[PORTS];
static pid_t child[PORTS];
static int children;

static void address_put(uint8_t *at, int who)
{
    static const uint8_t address[6] = { 2, 0, 0, 0, 0, 0 };
    memcpy(at, address, 6);
    at[5] = (uint8_t)(who + 1);
}

/* A frame from one port to another; to -1: to everybody. */
static void frame_put(uint8_t *out, int from, int to)
{
    memset(out, 0, STRIDE);
    out[2] = SIZE >> 8;
    out[3] = SIZE & 255;
    if (to < 0)
        memset(out + HEAD, 255, 6);
    else
        address_put(out + HEAD, to);
    address_put(out + HEAD + 6, from);
    out[HEAD + 12] = 0x88;
    out[HEAD + 13] = 0xb5;
}

static void write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            _exit(0); /* the switch has ended, or the run */
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void wait_seconds(double seconds)
{
    struct timespec t = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    nanosleep(&t, NULL);
}

/* Each port says who it is, and hears of all others. */
static void teach(int ports)
{
    uint8_t frame[STRIDE];
    static uint8_t room[ROOM];
    wait_seconds(0.3); /* until all are ports of the switch */
    for (int i = 0; i < ports; i++) {
        frame_put(frame, i, -1);
        write_all(port[i], frame, STRIDE);
    }
    wait_seconds(0.3);
    for (int i = 0; i < ports; i++) {
        if (read(port[i], room, sizeof room) != (ports - 1) * STRIDE)
            bench_die_text("a port did not hear all others");
    }
}

static int spawn(void)
{
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork");
    if (pid)
        child[children++] = pid;
    return pid == 0;
}

static void end_child(void)
{
    kill(child[--children], SIGKILL);
    waitpid(child[children], NULL, 0);
}

static _Noreturn void flood(int from, int to, int also)
{
    static uint8_t out[BATCH * STRIDE];
    for (int i = 0; i < BATCH; i++)
        frame_put(out + i * STRIDE, from, i % 2 ? also : to);
    for (;;)
        write_all(port[from], out, sizeof out);
}

/* Reads `rate` bytes a second (0: all there is), in portions of a hundredth of it. */
static _Noreturn void swallow(int who, double rate)
{
    static uint8_t room[ROOM];
    double begin = bench_now(), due = 0, had = 0;
    for (;;) {
        size_t want = sizeof room;
        if (rate > 0) {
            wait_seconds(rate < 1000 ? 0.1 : 0.01);
            due = (bench_now() - begin) * rate;
            want = due - had < 1 ? 0 : due - had > ROOM ? ROOM : (size_t)(due - had);
        }
        ssize_t n = want ? read(port[who], room, want) : 0;
        if (want && n <= 0)
            _exit(0);
        had += (double)n;
    }
}

/* Bits a second that come to a port. */
static double measure(int who, double warmup, double seconds)
{
    static uint8_t room[ROOM];
    double begin = bench_now() + warmup, now, bytes = 0;
    while ((now = bench_now()) < begin + seconds) {
        struct pollfd p = { .fd = port[who], .events = POLLIN };
        ssize_t n = poll(&p, 1, 100) > 0 ? read(port[who], room, sizeof room) : 0;
        if (now >= begin && n > 0)
            bytes += (double)n;
    }
    return bytes * 8 / seconds;
}

static void fast(double rate, double warmup, double seconds)
{
    enum { SENDER, SLOW, FAST };
    teach(3);
    if (spawn())
        flood(SENDER, FAST, SLOW);
    if (spawn())
        swallow(SLOW, 0);
    double without = measure(FAST, warmup, seconds);
    end_child();
    if (spawn())
        swallow(SLOW, rate);
    double with = measure(FAST, warmup, seconds);
    bench_result("mbit_rate", with / 1e6);
    bench_result("share", with / without);
}

static _Noreturn void send_paced(int from, int to)
{
    uint8_t frame[STRIDE];
    double begin = bench_now();
    for (long n = 0;; n++) {
        double now = bench_now();
        if (begin + (double)n / PACE > now)
            wait_seconds(begin + (double)n / PACE - now);
        frame_put(frame, from, n % 16 ? to : -1);
        now = bench_now();
        memcpy(frame + STAMP, &now, sizeof now);
        write_all(port[from], frame, STRIDE);
    }
}

static void third(double rate, double warmup, double seconds)
{
    static uint8_t room[ROOM];
    static double took[MOST];
    enum { FLOODER, SLOW, SENDER, RECEIVER };
    size_t have = 0, n = 0;
    teach(4);
    if (spawn())
        flood(FLOODER, SLOW, SLOW);
    if (spawn())
        swallow(SLOW, rate);
    if (spawn())
        send_paced(SENDER, RECEIVER);
    double begin = bench_now() + warmup, now;
    while ((now = bench_now()) < begin + seconds && n < MOST) {
        struct pollfd p = { .fd = port[RECEIVER], .events = POLLIN };
        ssize_t got = poll(&p, 1, 100) > 0 ? read(port[RECEIVER], room + have, sizeof room - have) : 0;
        have += got > 0 ? (size_t)got : 0;
        now = bench_now();
        size_t at = 0;
        for (; have - at >= STRIDE; at += STRIDE) {
            double sent;
            memcpy(&sent, room + at + STAMP, sizeof sent);
            if (now >= begin && n < MOST && sent > 0)
                took[n++] = now - sent;
        }
        have -= at;
        memmove(room, room + at, have);
    }
    if ((double)n < seconds * PACE / 2)
        bench_die_text("half of the frames did not come");
    bench_report_latencies(took, n);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        bench_die_text("usage: l2_isolation fast|third PATH RATE WARMUP SECONDS");
    int is_fast = strcmp(argv[1], "fast") == 0, ports = is_fast ? 3 : 4;
    double rate = (double)bench_count(argv[3]);
    double warmup = (double)bench_count(argv[4]), seconds = (double)bench_count(argv[5]);
    for (int i = 0; i < ports; i++)
        port[i] = bench_dial(argv[2]);
    signal(SIGPIPE, SIG_IGN);
    if (is_fast)
        fast(rate, warmup, seconds);
    else
        third(rate, warmup, seconds);
    while (children)
        end_child();
    return 0;
}
