/* Blocks of memory that the streams of a loop share in turn. */
#ifndef VMCTL_IO_STREAM_BLOCKS_H
#define VMCTL_IO_STREAM_BLOCKS_H

#include "io/stream.h"

enum { VMCTL_STREAM_KEEP = 1024 }; /* an idle stream keeps a buffer of at most this size */

/* Takes the block of an empty input, if it is above VMCTL_STREAM_KEEP: for the next stream that needs one, or frees it. */
void vmctl_stream_give_up(struct vmctl_stream *s);

/* A stream that reads much gets the large block, if it is there. */
void vmctl_stream_take_spare(struct vmctl_stream *s);

/* Takes the block of an empty buffer; a small one waits for the next buffer that grows. */
void vmctl_stream_shelve(struct vmctl_loop *loop, struct vmctl_buf *b);

/* Gives an empty buffer that is too small for `need` bytes the kept block, if that is large enough. */
void vmctl_stream_unshelve(struct vmctl_loop *loop, struct vmctl_buf *b, size_t need);

#endif
