/* A byte stream on one fd, or on two (a child's pipes): buffers with limits, one reader and one writer, half-close.
 * Nothing here blocks: calls answer -EAGAIN, and the queues `readers` and `writers` say when to try again. */
#ifndef VMCTL_IO_STREAM_H
#define VMCTL_IO_STREAM_H

#include "io/loop.h"
#include "io/wait.h"
#include "wire/buf.h"
#include "wire/error.h"
#include "wire/frame.h"

#include <sys/uio.h>

enum vmctl_stream_kind {
    VMCTL_STREAM_SOCKET,
    VMCTL_STREAM_PIPE,  /* pipes, character devices, files */
    VMCTL_STREAM_TTY,   /* the master of a pseudo terminal: EIO is its end of stream */
    VMCTL_STREAM_SERIAL /* a virtio port: a read of 0 bytes means that no peer is connected now, not the end */
};

enum {
    VMCTL_STREAM_IN = 1024 * 1024,   /* default limit of the input buffer, for lines and unframed reads */
    VMCTL_STREAM_HIGH = 256 * 1024,  /* a corked writer waits above this */
    VMCTL_STREAM_CORK = 64 * 1024    /* a corked stream is flushed when it holds this much */
};

struct vmctl_stream {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    int rfd, wfd;                 /* the same number for a socket; -1: not open, or that direction is done */
    enum vmctl_stream_kind kind;
    bool dry;                     /* the last read took all that the kernel had: better wait in the loop than read again */
    uint8_t misses, backoff;      /* of a dry stream: reads that found nothing; how many reads not to try */
    bool corked, shutting;        /* shutting: SHUT_WR follows the last byte of `out` */
    bool present, gone;           /* serial: a peer has sent something; it has left since, which is reported to the next reader once */
    bool file;                    /* counted in loop->files */
    bool bulk;                    /* it reads much at a time, into loop->spare where that is unused */
    bool raw;                     /* reading is done past the buffer: only report that there is input */
    int rerr, werr;               /* final errors of reading and writing; 0: none */
    struct vmctl_buf in, out;
    size_t skip;                  /* bytes of a frame over its limit that are still to come, and are skipped */
    size_t need;                  /* bytes of `in` that the waiting reader cannot do without */
    struct vmctl_waitq readers, writers;
    ev_io rio, wio;
    struct vmctl_chore unsent;    /* corked output, sent before the loop waits */
    struct vmctl_timer nap;       /* a pause where polling would spin: an absent serial peer, ENOBUFS */
    struct vmctl_frame_format format;
    uint64_t bytes_in, bytes_out;
    char *label;                  /* what errors call it; malloc'd, may be NULL */
};

/* Makes a closed stream. */
void vmctl_stream_init(struct vmctl_stream *s, struct vmctl_loop *loop);

/* Takes non-blocking fds (-1: no such direction). Cannot fail. */
void vmctl_stream_open(struct vmctl_stream *s, int rfd, int wfd, enum vmctl_stream_kind kind);

/* Sends as much of the output as the kernel takes at once, closes, wakes both sides with ECLOSED. Idempotent. */
void vmctl_stream_close(struct vmctl_stream *s);

/* As if the peer of a socket had reset it: received bytes can still be read, then comes -ECONNRESET. */
void vmctl_stream_hang_up(struct vmctl_stream *s);

/* Closes it and forgets its label: the last call. */
void vmctl_stream_free(struct vmctl_stream *s);

/* Gives the fds back: stops watching, forgets them. The input buffer stays for the caller to take. */
void vmctl_stream_release(struct vmctl_stream *s);

/* One read(2) into the input buffer, for a reader that lacks `want` bytes: the buffer grows towards them as bytes arrive,
 * at most by as much as it holds or by the scratch's size. The number of bytes, -EAGAIN, or the sticky error (VMCTL_EOF at
 * the end). `force`: ask the kernel even if the stream was dry. */
ssize_t vmctl_stream_fill(struct vmctl_stream *s, size_t want, bool force);

/* Lets `s` wake a waiter of s->readers once `need` bytes are there, or an error. */
void vmctl_stream_want(struct vmctl_stream *s, size_t need);

/* Sends the parts, or queues them behind earlier output: all of them, or none and an error. */
int vmctl_stream_send(struct vmctl_stream *s, const struct iovec *iov, int n);

/* A frame of the stream's format, header and body together. */
int vmctl_stream_send_frame(struct vmctl_stream *s, const struct vmctl_frame *frame, const void *body);

/* Writes the queue. 0: all of it is written; -EAGAIN: s->writers will be woken when it is; else the sticky error. */
int vmctl_stream_flush(struct vmctl_stream *s);

/* Ends our sending side once all is flushed. As vmctl_stream_flush. */
int vmctl_stream_shutdown(struct vmctl_stream *s);

#endif
