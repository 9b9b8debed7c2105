#ifndef VMCTL_BENCH_H
#define VMCTL_BENCH_H

/*
 * Helpers of the benchmark programs: the frame head, Unix sockets, the clock, and the lines that bench/run.lua reads.
 * These are programs and no library code: whatever fails ends the process with a message.
 */

#include <stddef.h>
#include <stdint.h>

/* A frame is one type byte, a big-endian 32-bit payload length, and the payload: the framing of the exec protocol. */
enum {
    BENCH_HEAD = 5,
    BENCH_PAYLOAD = 64,             /* payload of a small frame */
    BENCH_MAX = 64 * 1024,          /* largest payload; a longer one is refused */
    BENCH_DATA = 1,                 /* frame types */
    BENCH_ACK = 2,
};

struct bench_frame {
    uint8_t type;
    size_t length;
    const uint8_t *payload;
};

/* Writes a frame with its payload; returns its size on the wire. */
size_t bench_frame_put(uint8_t *out, uint8_t type, const void *payload, size_t length);
/* The frame at the start of `in`: its size on the wire, or 0 when it is not complete yet. */
size_t bench_frame_peek(const uint8_t *in, size_t have, struct bench_frame *frame);

/* Blocking, close-on-exec sockets. */
int bench_listen(const char *path);
int bench_accept(int listener);
/* Tries for up to two seconds: a peer that is no program of ours cannot say when it listens. */
int bench_dial(const char *path);
void bench_set_nonblocking(int fd);

double bench_now(void);             /* seconds, monotonic */
long bench_count(const char *text); /* a positive number from the command line */
/* Sorts `seconds` and prints the results p50_us, p99_us and p99_ratio. */
void bench_report_latencies(double *seconds, size_t n);
void bench_ready(void);             /* tells the runner that the other end may start */
void bench_result(const char *name, double value);
_Noreturn void bench_die(const char *operation);                /* with the text of errno */
_Noreturn void bench_die_text(const char *text);

#endif
