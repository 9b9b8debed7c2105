/*
 * Drives any Ethernet switch between two of its ports: a process sends COUNT frames of SIZE bytes into A, as fast as they
 * are taken, and this one counts those that come out of B, until all have come or nothing has for a while. What a switch
 * drops is no success: the rate is of delivered frames. The ports are stream sockets with QEMU's framing, or those of a
 * vde_switch (A and B are its folder then).
 */

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    HEAD = 4,                       /* a frame's length, big-endian, without itself: on streams only */
    ETHERNET = 14,                  /* two addresses and a type */
    SIZE_SHORTEST = 60,
    SIZE_LONGEST = 9000,               /* a vde_switch takes no more */
    CHUNK = 64 * 1024,              /* of one write */
    BATCH = 64,                     /* packets of one call */
    ROOM = 256 * 1024,              /* of one read */
    SILENCE = 2,                    /* seconds after which no frame is awaited any more */
    TEACH_PAUSE = 100,              /* milliseconds */
    TEACH_TRIES = 50
};

static const uint8_t sender[6] = { 2, 0, 0, 0, 0, 1 }, receiver[6] = { 2, 0, 0, 0, 0, 2 };
static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };

struct wire {
    int fd;
    bool packets;                   /* a packet is a frame, without its length in front */
};

/* A frame of an experimental type, its length in front of it; the size of both. */
static size_t frame_put(uint8_t *out, const uint8_t *to, const uint8_t *from, size_t size)
{
    memset(out, 0, HEAD + size);
    out[2] = (uint8_t)(size >> 8);
    out[3] = (uint8_t)size;
    memcpy(out + HEAD, to, 6);
    memcpy(out + HEAD + 6, from, 6);
    out[HEAD + 12] = 0x88;
    out[HEAD + 13] = 0xb5;
    return HEAD + size;
}

/* The way into a vde_switch, as its protocol's third version has it: a request on the control socket names our data socket,
 * and the answer is the switch's. The control socket stays open for as long as the port is wanted. */
struct vde_request {
    uint32_t magic, version, type;  /* type 0: a port, any that is free */
    struct sockaddr_un data;
    char description[128];
};

static void unix_path(struct sockaddr_un *addr, const char *folder, const char *name)
{
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int n = snprintf(addr->sun_path, sizeof addr->sun_path, "%s%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof addr->sun_path)
        bench_die_text("socket path too long");
}

static struct wire vde_open(const char *folder, const char *name)
{
    struct vde_request request = { .magic = 0xfeedface, .version = 3 };
    struct sockaddr_un control, theirs;
    unix_path(&control, folder, "/ctl");
    unix_path(&request.data, folder, name);
    strcpy(request.description, "l2_driver");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&request.data, sizeof request.data) < 0)
        bench_die("vde data socket");
    int ctl = bench_dial(control.sun_path);
    size_t length = offsetof(struct vde_request, description) + strlen(request.description);
    if (send(ctl, &request, length, 0) != (ssize_t)length)
        bench_die("vde request");
    if (recv(ctl, &theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs)
        bench_die_text("vde_switch refused the port");
    if (connect(fd, (struct sockaddr *)&theirs, sizeof theirs) < 0)
        bench_die("connect to vde_switch");
    return (struct wire){ .fd = fd, .packets = true };
}

static void stream_send(int fd, const uint8_t *frame, size_t stride, long frames)
{
    static uint8_t out[CHUNK];
    const size_t batch = CHUNK / stride;
    for (size_t i = 0; i < batch; i++)
        memcpy(out + i * stride, frame, stride);
    while (frames > 0) {
        size_t now = frames < (long)batch ? (size_t)frames : batch, done = 0;
        while (done < now * stride) {
            ssize_t n = write(fd, out + done, now * stride - done);
            if (n < 0 && errno != EINTR)
                bench_die("write");
            done += n > 0 ? (size_t)n : 0;
        }
        frames -= (long)now;
    }
}

static void packets_send(int fd, uint8_t *frame, size_t size, long frames)
{
    struct iovec iov = { frame, size };
    struct mmsghdr batch[BATCH] = { 0 };
    for (int i = 0; i < BATCH; i++)
        batch[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
    while (frames > 0) {
        int n = sendmmsg(fd, batch, frames < BATCH ? (unsigned)frames : BATCH, 0);
        if (n < 0 && errno != EINTR)
            bench_die("sendmmsg");
        frames -= n > 0 ? n : 0;
    }
}

static void wire_send(struct wire w, uint8_t *frame, size_t stride, long frames)
{
    if (w.packets)
        packets_send(w.fd, frame + HEAD, stride - HEAD, frames);
    else
        stream_send(w.fd, frame, stride, frames);
}

static void expect(bool same)
{
    if (!same)
        bench_die_text("not the frame that was sent");
}

/* How many frames have come, at least one; 0: nothing in time. What there is of one more is kept for the next call. */
static long stream_receive(int fd, const uint8_t *frame, size_t stride)
{
    static uint8_t in[ROOM];
    static size_t have;
    long frames = 0;
    while (!frames) {
        ssize_t n = read(fd, in + have, sizeof in - have);
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0 && errno != EINTR)
            bench_die("read");
        if (n == 0)
            bench_die_text("the switch closed the connection");
        have += n > 0 ? (size_t)n : 0;
        size_t at = 0;
        for (; have - at >= stride; at += stride, frames++)
            expect(memcmp(in + at, frame, HEAD + ETHERNET) == 0);
        have -= at;
        memmove(in, in + at, have);
    }
    return frames;
}

static long packets_receive(int fd, const uint8_t *frame, size_t size)
{
    static uint8_t in[BATCH][SIZE_LONGEST + 1];
    struct iovec iov[BATCH];
    struct mmsghdr batch[BATCH] = { 0 };
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){ in[i], sizeof in[i] };
        batch[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
    }
    int n = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < 0)
        bench_die("recvmmsg");
    for (int i = 0; i < n; i++)
        expect(batch[i].msg_len == size && memcmp(in[i], frame, ETHERNET) == 0);
    return n;
}

static long wire_receive(struct wire w, const uint8_t *frame, size_t stride)
{
    return w.packets ? packets_receive(w.fd, frame + HEAD, stride - HEAD) : stream_receive(w.fd, frame, stride);
}

/* The switch learns where the receiver is. That its frame has come says as well that both ports are in their places. */
static void teach(struct wire from, struct wire to, size_t size)
{
    static uint8_t frame[HEAD + SIZE_LONGEST];
    struct pollfd arrival = { .fd = to.fd, .events = POLLIN };
    size_t stride = frame_put(frame, everybody, receiver, size);
    for (int i = 0; i < TEACH_TRIES; i++) {
        wire_send(from, frame, stride, 1);
        if (poll(&arrival, 1, TEACH_PAUSE) > 0)
            return;
    }
    bench_die_text("no frame comes through the switch");
}

struct outcome {
    long frames;
    double seconds;                 /* to the last one's arrival */
};

static struct outcome run(struct wire into, struct wire out, size_t size, long frames)
{
    static uint8_t frame[HEAD + SIZE_LONGEST];
    size_t stride = frame_put(frame, receiver, sender, size);
    struct outcome outcome = { 0, 0 };
    double start = bench_now();
    pid_t child = fork();
    if (child < 0)
        bench_die("fork");
    if (child == 0) {
        wire_send(into, frame, stride, frames);
        _exit(0);
    }
    while (outcome.frames < frames) {
        long more = wire_receive(out, frame, stride);
        if (more == 0)
            break;
        outcome.frames += more;
        outcome.seconds = bench_now() - start;
    }
    int status;
    if (waitpid(child, &status, 0) < 0 || status != 0)
        bench_die_text("the sending process failed");
    return outcome;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        bench_die_text("usage: l2_driver stream|vde A B SIZE WARMUP COUNT");
    bool vde = strcmp(argv[1], "vde") == 0;
    struct wire into = vde ? vde_open(argv[2], ".in") : (struct wire){ .fd = bench_dial(argv[2]) };
    struct wire out = vde ? vde_open(argv[3], ".out") : (struct wire){ .fd = bench_dial(argv[3]) };
    long size = bench_count(argv[4]), warmup = bench_count(argv[5]), count = bench_count(argv[6]);
    if (size < SIZE_SHORTEST || size > SIZE_LONGEST)
        bench_die_text("a frame has 60 to 9000 bytes");
    const struct timeval silence = { .tv_sec = SILENCE };
    if (setsockopt(out.fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) < 0)
        bench_die("setsockopt");
    teach(out, into, (size_t)size);
    run(into, out, (size_t)size, warmup);
    struct outcome outcome = run(into, out, (size_t)size, count);
    if (outcome.frames == 0)
        bench_die_text("no frame came out of the switch");
    double rate = (double)outcome.frames / outcome.seconds;
    bench_result("rate", rate);
    bench_result("gbit_rate", rate * (double)size * 8 / 1e9);
    bench_result("share", (double)outcome.frames / (double)count);
    return 0;
}
