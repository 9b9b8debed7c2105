/* A merge: the bytes of several streams leave as frames on one, each source with a frame type of its own. A command's
 * output goes this way from its pipes to the host, inside the kernel where it can (splice). */
#ifndef VMCTL_IO_MERGE_H
#define VMCTL_IO_MERGE_H

#include "io/stream.h"

enum { VMCTL_MERGE_SOURCES = 4, VMCTL_MERGE_FRAME = 64 * 1024 };

struct vmctl_merge_source {
    struct vmctl_merge *merge;
    struct vmctl_stream *stream;
    uint32_t type;
    bool ended, ready;
    bool dropped;                   /* the rest is not needed: its stream is closed between two frames */
    struct vmctl_waiter waiter;
};

struct vmctl_merge {
    struct vmctl_stream *to;
    struct vmctl_waiter waiter;     /* in to->writers */
    struct vmctl_merge_source source[VMCTL_MERGE_SOURCES];
    int sources, turn;              /* turn: the source that is served first, so that none starves */
    int current;                    /* the source whose frame is partly written; -1: none */
    size_t left;                    /* bytes of that frame still to be spliced */
    bool splice;                    /* pipes into a socket; else through a buffer */
    bool finishing, over;
    int err;
    struct vmctl_waitq waiters;
};

void vmctl_merge_init(struct vmctl_merge *f);

/* Adds a source before the start. The streams stay their owners', who keep them alive until it is over. */
int vmctl_merge_add(struct vmctl_merge *f, struct vmctl_stream *from, uint32_t type);
int vmctl_merge_start(struct vmctl_merge *f, struct vmctl_stream *to);

/* True if it waits for its sources only: all their bytes are written. */
bool vmctl_merge_idle(const struct vmctl_merge *f);

/* Closes a source's stream as soon as no frame of it is partly written: its writers get SIGPIPE. Waiters may be woken before this
 * returns. */
void vmctl_merge_drop(struct vmctl_merge *f, const struct vmctl_stream *from);

/* Ends it behind the frame that is partly written, also if sources have more. */
void vmctl_merge_finish(struct vmctl_merge *f);

/* Stops waiting on all streams. A frame that is partly written cannot be completed: then `to` can no longer be written. */
void vmctl_merge_stop(struct vmctl_merge *f, int err);

#endif
