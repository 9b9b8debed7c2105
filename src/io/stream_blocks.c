/* Blocks of memory that the streams of a loop share in turn: a large one for input in bulk, and a small one for messages that come or go
 * together. A new block each time would grow by copying, and make malloc merge its free memory. */
#include "io/stream_blocks.h"

#include <stdlib.h>

enum {
    BLOCKS_LARGE = 4 * 1024 * 1024, /* bytes of a block that is kept, at most */
    BLOCKS_SMALL = 64 * 1024
};

void vmctl_stream_shelve(struct vmctl_loop *loop, struct vmctl_buf *b)
{
    struct vmctl_buf *shelf = &loop->shelf;
    if (b->cap > BLOCKS_SMALL || b->cap <= shelf->cap) {
        vmctl_buf_free(b);
        return;
    }
    vmctl_buf_free(shelf);
    *shelf = (struct vmctl_buf){ .data = b->data, .cap = b->cap };
    vmctl_buf_init(b, b->max);
}

void vmctl_stream_unshelve(struct vmctl_loop *loop, struct vmctl_buf *b, size_t need)
{
    struct vmctl_buf *shelf = &loop->shelf;
    if (b->cap >= need || shelf->cap < need || shelf->cap > b->max || vmctl_buf_len(b))
        return;
    free(b->data);
    *b = (struct vmctl_buf){ .data = shelf->data, .cap = shelf->cap, .max = b->max };
    *shelf = (struct vmctl_buf){ 0 };
}

/* Keeps a large empty buffer for the next stream that reads much, which would else read by way of the scratch. */
void vmctl_stream_give_up(struct vmctl_stream *s)
{
    struct vmctl_buf *spare = &s->loop->spare;
    s->bulk = s->bulk || s->in.cap > VMCTL_SCRATCH;
    if (s->in.cap > VMCTL_SCRATCH && s->in.cap <= BLOCKS_LARGE && s->in.cap > spare->cap) {
        vmctl_buf_free(spare);
        *spare = (struct vmctl_buf){ .data = s->in.data, .cap = s->in.cap };
        vmctl_buf_init(&s->in, s->in.max);
    } else {
        vmctl_stream_shelve(s->loop, &s->in);
    }
}

void vmctl_stream_take_spare(struct vmctl_stream *s)
{
    struct vmctl_buf *spare = &s->loop->spare;
    if (!spare->cap || spare->cap > s->in.max || vmctl_buf_len(&s->in))
        return;
    free(s->in.data);
    s->in = (struct vmctl_buf){ .data = spare->data, .cap = spare->cap, .max = s->in.max };
    *spare = (struct vmctl_buf){ 0 };
}
