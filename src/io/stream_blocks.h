/* Blocks of memory that the streams of a loop hand to each other. */
#ifndef VMCTL_IO_STREAM_BLOCKS_H
#define VMCTL_IO_STREAM_BLOCKS_H

#include "io/stream.h"

enum { VMCTL_STREAM_KEEP = 1024 }; /* an idle stream keeps a buffer of at most this size */

/* Takes the block of an input that is empty, above VMCTL_STREAM_KEEP: for the next that needs one, or frees it. */
void vmctl_stream_give_up(struct vmctl_stream *s);

/* A stream that reads much gets the large block, if it is there. */
void vmctl_stream_take_spare(struct vmctl_stream *s);

/* Takes the block of an empty buffer; a small one waits for the next buffer that grows. */
void vmctl_stream_shelve(struct vmctl_loop *loop, struct vmctl_buf *b);

/* Gives an empty buffer that has no room for `need` bytes a block that has, if one waits. */
void vmctl_stream_unshelve(struct vmctl_loop *loop, struct vmctl_buf *b, size_t need);

#endif
