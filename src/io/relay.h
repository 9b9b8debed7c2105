/* A relay copies bytes between two streams in both directions, inside the kernel where it can (splice), and passes half-close on. */
#ifndef VMCTL_IO_RELAY_H
#define VMCTL_IO_RELAY_H

#include "io/stream.h"

struct vmctl_relay_direction {
    struct vmctl_relay *relay;
    int from, to;               /* fds; from is -1 once it has ended */
    bool to_socket, copying;    /* copying: splice cannot, the bytes go through `buf` */
    bool ended, done;           /* ended: no more bytes come; done: all of them are written, and the other end is shut down */
    bool broken;                /* the other end takes no more */
    int pipe[2];
    size_t piped;               /* bytes in the pipe */
    struct vmctl_buf buf;       /* bytes that were read before the relay took over, or all when copying */
    ev_io rio, wio;
    struct vmctl_timer nap;     /* a pause where polling would spin: ENOBUFS, ENOMEM */
    uint64_t bytes;
};

struct vmctl_relay {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    int fds[4];                 /* a's read and write side, b's */
    unsigned files;             /* of them, counted in loop->files */
    struct vmctl_relay_direction direction[2];
    struct vmctl_waitq waiters;
    struct vmctl_timer timer;
    double idle, linger;        /* seconds without a byte; seconds after one direction has ended; INFINITY: no limit */
    double moved, half;         /* when the last byte was moved, when the first direction ended */
    bool over;
    int err;                    /* once it is over: why it did not end by itself; 0 */
};

void vmctl_relay_init(struct vmctl_relay *r, struct vmctl_loop *loop);

/* Takes the fds and the buffers of both streams, on success only; they are closed streams afterwards. */
int vmctl_relay_start(struct vmctl_relay *r, struct vmctl_stream *a, struct vmctl_stream *b, double idle,
                      double linger);

/* Ends it, closes both ends, wakes the waiters. Idempotent. */
void vmctl_relay_close(struct vmctl_relay *r, int err);

#endif
