/* A growable byte queue with a limit: bytes are appended at the end and consumed at the front. */
#ifndef VMCTL_WIRE_BUF_H
#define VMCTL_WIRE_BUF_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

struct vmctl_buf {
    uint8_t *data; /* NULL while nothing was ever stored */
    size_t off;    /* first byte not yet consumed */
    size_t end;    /* one past the last byte */
    size_t cap;    /* bytes allocated */
    size_t max;    /* most bytes that may be held at once; lowered below what is held, it only refuses more */
};

static inline size_t vmctl_buf_len(const struct vmctl_buf *b)
{
    return b->end - b->off;
}

static inline uint8_t *vmctl_buf_head(const struct vmctl_buf *b)
{
    return b->data ? b->data + b->off : NULL;
}

void vmctl_buf_init(struct vmctl_buf *b, size_t max);

/* Frees the memory; the buffer is empty and usable afterwards. */
void vmctl_buf_free(struct vmctl_buf *b);

/* The slow half of vmctl_buf_reserve: there is no room behind the end, but the limit allows it. */
int vmctl_buf_make_room(struct vmctl_buf *b, size_t extra);

/* Makes room for `extra` more bytes at `data + end`, which may move what is held. 0, -ENOBUFS over the limit, -ENOMEM;
 * on failure b is untouched. Inline, as is consume: small frames call them once each. */
static inline int vmctl_buf_reserve(struct vmctl_buf *b, size_t extra)
{
    size_t len = vmctl_buf_len(b);
    if (len > b->max || extra > b->max - len)
        return -ENOBUFS;
    return extra <= b->cap - b->end ? 0 : vmctl_buf_make_room(b, extra);
}

/* Copies bytes (not the buffer's own) to the end: all of them, or none and the error of vmctl_buf_reserve. */
int vmctl_buf_append(struct vmctl_buf *b, const void *bytes, size_t len);

/* Drops `len` bytes (at most vmctl_buf_len) from the front; an emptied buffer starts at 0 again. */
static inline void vmctl_buf_consume(struct vmctl_buf *b, size_t len)
{
    b->off += len;
    if (b->off == b->end)
        b->off = b->end = 0;
}

#endif
