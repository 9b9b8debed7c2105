/* Shared by the files of a stream alone. */
#ifndef VMCTL_IO_STREAM_PARTS_H
#define VMCTL_IO_STREAM_PARTS_H

#include "io/stream.h"

/* In stream_read.c and stream_write.c: the callbacks of a stream's watchers and of its chore. */
void vmctl_stream_on_readable(struct ev_loop *ev, ev_io *w, int events);
void vmctl_stream_on_writable(struct ev_loop *ev, ev_io *w, int events);
bool vmctl_stream_on_unsent(struct vmctl_chore *c);

/* Stops a watcher for so many seconds; then both watchers run again if they are needed. */
static inline void vmctl_stream_nap(struct vmctl_stream *s, ev_io *w, double seconds)
{
    vmctl_io_stop(s->loop, w);
    if (!s->nap.slot)
        vmctl_timer_set(s->loop, &s->nap, vmctl_loop_now(s->loop) + seconds);
}

#endif
