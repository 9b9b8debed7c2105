/* A fan-in: the bytes of several streams leave as frames on one, each source with a frame type of its own. A command's
 * output goes this way from its pipes to the host, inside the kernel where it can (splice). */
#ifndef VMCTL_IO_FANIN_H
#define VMCTL_IO_FANIN_H

#include "io/stream.h"

enum { VMCTL_FANIN_SOURCES = 4, VMCTL_FANIN_FRAME = 64 * 1024 };

struct vmctl_fanin_source {
    struct vmctl_fanin *fanin;
    struct vmctl_stream *stream;
    uint32_t type;
    bool ended, ready;
    bool dropped;                   /* nobody wants the rest: its stream is closed between two frames */
    struct vmctl_waiter waiter;
};

struct vmctl_fanin {
    struct vmctl_stream *to;
    struct vmctl_waiter waiter;     /* in to->writers */
    struct vmctl_fanin_source source[VMCTL_FANIN_SOURCES];
    int sources, turn;              /* turn: who is served first, so that none starves */
    int current;                    /* the source whose frame is half out; -1 */
    size_t left;                    /* bytes of that frame still to be spliced */
    bool splice;                    /* pipes into a socket; else through a buffer */
    bool finishing, over;
    int err;
    struct vmctl_waitq waiters;
};

void vmctl_fanin_init(struct vmctl_fanin *f);

/* Adds a source before the start. The streams stay their owners', who keep them alive until it is over. */
int vmctl_fanin_add(struct vmctl_fanin *f, struct vmctl_stream *from, uint32_t type);
int vmctl_fanin_start(struct vmctl_fanin *f, struct vmctl_stream *to);

/* Does it wait for its sources alone, with everything that they gave handed over? */
bool vmctl_fanin_idle(const struct vmctl_fanin *f);

/* Closes a source's stream as soon as no frame of it is half out: who writes there learns that nobody reads. The end may
 * be told to those who wait before this returns. */
void vmctl_fanin_drop(struct vmctl_fanin *f, const struct vmctl_stream *from);

/* Ends it behind the frame that is half out, whatever the sources may still have. */
void vmctl_fanin_finish(struct vmctl_fanin *f);

/* Stops waiting on all streams. A frame that is half out cannot be completed: `to` can no more be written then. */
void vmctl_fanin_stop(struct vmctl_fanin *f, int err);

#endif
