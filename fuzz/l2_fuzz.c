/* The Ethernet switch between socket pairs: whatever comes in at a port, only whole frames come out of the others, and none
 * that a guest would choke on; without faults, exactly those of the input. links: -lev -lm
 * sources: src/io/loop.c src/io/loop_wait.c src/io/loop_tick.c src/io/loop_virtual.c src/io/loop_watch.c src/io/loop_room.c src/io/maker.c src/io/timer.c src/io/sysio.c src/io/switch_macs.c src/io/switch_impairment.c
 * sources: src/io/switch_read.c src/io/switch_drain.c
 * sources: src/io/switch.c src/io/switch_forward.c src/io/switch_output.c src/io/switch_queue.c src/io/switch_hold.c src/io/switch_match.c
 * sources: src/io/switch_port.c src/io/switch_delay.c src/io/switch_packets.c src/io/switch_fault.c src/io/switch_thread.c src/io/switch_datagrams.c src/io/pcap_filter.c */
#include "fuzz.h"

#include "io/switch.h"

#include <sys/socket.h>
#include <unistd.h>

enum { PORTS = 3, TURNS = 4, MOST = 64 * 1024 }; /* MOST: bytes of input; what comes out of it fits into a socket's buffer */

static struct vmctl_loop loop;

/* A switch, the far ends of its wires, and what has come out of them. */
struct rig {
    struct vmctl_switch sw;
    struct vmctl_switch_port *port[PORTS];
    int far[PORTS];
    struct vmctl_buf out[PORTS];
};

static void rig_open(struct rig *r, uint64_t seed)
{
    if (!loop.ev)
        CHECK(vmctl_loop_open(&loop) == 0);
    vmctl_switch_init(&r->sw, &loop, seed);
    for (int i = 0; i < PORTS; i++) {
        int fd[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
        CHECK(vmctl_switch_add(&r->sw, "port", &r->port[i]) == 0);
        CHECK(vmctl_switch_attach(r->port[i], VMCTL_PORT_STREAM, fd[0], "", 0) == 0);
        r->far[i] = fd[1];
        vmctl_buf_init(&r->out[i], SIZE_MAX / 2);
    }
}

static void rig_close(struct rig *r)
{
    vmctl_switch_close(&r->sw);
    for (int i = 0; i < PORTS; i++) {
        close(r->far[i]);
        vmctl_buf_free(&r->out[i]);
    }
}

static void rig_read(struct rig *r, int i)
{
    static uint8_t room[64 * 1024];
    ssize_t got;
    while ((got = read(r->far[i], room, sizeof room)) > 0)
        CHECK(vmctl_buf_append(&r->out[i], room, (size_t)got) == 0);
}

static void rig_run(struct rig *r)
{
    for (int turn = 0; turn < TURNS; turn++)
        vmctl_loop_poll(&loop, 0);
    for (int i = 0; i < PORTS; i++)
        rig_read(r, i);
}

static void rig_send(struct rig *r, int i, const uint8_t *data, size_t size)
{
    if (size > 0 && r->port[i]->fd >= 0)
        CHECK(write(r->far[i], data, size) == (ssize_t)size);
    rig_run(r);
}

static size_t slow_length(const uint8_t *in)
{
    return (size_t)in[0] * 16777216 + (size_t)in[1] * 65536 + (size_t)in[2] * 256 + in[3];
}

/* Not from a group, and not to a group of one link, which no bridge forwards. */
static bool slow_is_forwarded(const uint8_t *frame, size_t length)
{
    static const uint8_t link[] = { 0x01, 0x80, 0xc2, 0x00, 0x00 };
    bool of_link = memcmp(frame, link, sizeof link) == 0 && frame[5] <= 0x0f;
    return length <= 65535 && !(frame[6] & 1) && !of_link;
}

/* Appends the frames of the input that are to be passed on, as they should come out. True: it ends the connection. */
static bool slow_read(const uint8_t *in, size_t size, struct vmctl_buf *want)
{
    size_t at = 0;
    while (size - at >= 4) {
        size_t length = slow_length(in + at);
        if (length > 69632)
            return true;
        if (size - at - 4 < length)
            break;
        if (length >= 14 && slow_is_forwarded(in + at + 4, length))
            CHECK(vmctl_buf_append(want, in + at, 4 + length) == 0);
        at += 4 + length;
    }
    return false;
}

/* All that came out of a port are whole frames. */
static void check_frames(const struct vmctl_buf *out)
{
    const uint8_t *in = vmctl_buf_head(out);
    size_t len = vmctl_buf_len(out), at = 0;
    while (at < len) {
        CHECK(len - at >= 4);
        size_t length = slow_length(in + at);
        CHECK(length >= 14 && length <= 69632);
        CHECK(len - at - 4 >= length);
        at += 4 + length;
    }
}

/* A hub: the other ports get what one sent, however it was cut. */
static void try_plain(const uint8_t *data, size_t size, size_t cut)
{
    struct rig r;
    struct vmctl_buf want;
    vmctl_buf_init(&want, SIZE_MAX / 2);
    rig_open(&r, 0);
    r.sw.macs.age = 0;
    bool ends = slow_read(data, size, &want);
    rig_send(&r, 0, data, cut);
    rig_send(&r, 0, data + cut, size - cut);
    CHECK((r.port[0]->fd < 0) == ends);
    CHECK(vmctl_buf_len(&r.out[0]) == 0);
    for (int i = 1; i < PORTS; i++) {
        CHECK(vmctl_buf_len(&r.out[i]) == vmctl_buf_len(&want));
        CHECK(vmctl_buf_len(&want) == 0 || memcmp(vmctl_buf_head(&r.out[i]), vmctl_buf_head(&want), vmctl_buf_len(&want)) == 0);
    }
    vmctl_buf_free(&want);
    rig_close(&r);
}

/* Two senders, faults everywhere. */
static void try_faulty(const uint8_t *data, size_t size, size_t cut)
{
    struct rig r;
    rig_open(&r, cut);
    const struct vmctl_fault way = { .loss = { .chance = 0.1 }, .duplicate = { .chance = 0.3 }, .corrupt = { .chance = 0.3 },
                                     .reorder = { .chance = 0.1 } };
    const struct vmctl_fault slow = { .rate = 1e9, .latency = 0.1, .delay = 1e-7, .jitter = 1e-7 };
    CHECK(vmctl_switch_fault_from(r.port[0], &way) == 0);
    CHECK(vmctl_switch_fault_pair(r.port[1], r.port[2], &way) == 0);
    CHECK(vmctl_switch_fault_to(r.port[1], &slow) == 0);
    rig_send(&r, 1, data, size);
    rig_send(&r, 0, data, cut);
    vmctl_switch_inject(r.port[2], data + cut, size - cut);
    rig_send(&r, 0, data + cut, size - cut);
    for (int i = 0; i < PORTS; i++)
        check_frames(&r.out[i]);
    vmctl_switch_remove(r.port[1]);
    rig_run(&r);
    rig_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MOST)
        return 0;
    size_t cut = fuzz_cut(data, size, size % fuzz_cuts(size));
    try_plain(data, size, cut);
    try_faulty(data, size, cut);
    return 0;
}
