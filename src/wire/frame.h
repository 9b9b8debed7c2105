/* Length-prefixed frames. One reader and one writer serve all binary protocols: a format says where the fields lie. */
#ifndef VMCTL_WIRE_FRAME_H
#define VMCTL_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum { VMCTL_FRAME_HEAD_MAX = 16 };

/* Offsets and widths in bytes; a width of 0 means that the header has no such field. All integers are big endian. */
struct vmctl_frame_format {
    uint8_t head;        /* the whole header */
    uint8_t length_at;   /* the length is always 4 bytes wide and counts the body alone */
    uint8_t type_at;
    uint8_t type_size;   /* 0, 1 or 2 */
    uint8_t stream_at;
    uint8_t stream_size; /* 0 or 4 */
    uint8_t flags_at;
    uint8_t flags_size;  /* 0 or 1 */
    uint32_t max;        /* longest body, for types without a limit of their own */
    uint32_t nlimits;    /* types below this have a limit of their own ... */
    const uint32_t *limits; /* ... here, indexed by type; not owned */
};

struct vmctl_frame {
    uint32_t type;
    uint32_t stream;
    uint8_t flags;
    size_t size;         /* of the body */
    size_t total;        /* header and body; on VMCTL_FRAME_MORE as many bytes as are needed to get further */
    const uint8_t *body; /* into the input */
};

enum vmctl_frame_status { VMCTL_FRAME_DONE, VMCTL_FRAME_MORE, VMCTL_FRAME_TOO_BIG };

enum vmctl_frame_order { VMCTL_FRAME_TYPE_FIRST, VMCTL_FRAME_LENGTH_FIRST };

/* Lays out a format without limits by type: type, length (or length, stream, type, flags). 0, or -EINVAL for widths
 * that no frame has, and for TYPE_FIRST with a stream or flags. */
int vmctl_frame_layout(struct vmctl_frame_format *f, enum vmctl_frame_order order, unsigned type_size,
                       unsigned stream_size, unsigned flags_size, uint32_t max);

/* The longest body that a frame of this type may have: its own limit (which may be above `max`), else `max`. */
uint32_t vmctl_frame_limit(const struct vmctl_frame_format *f, uint32_t type);

/* Looks at the first frame of the input. DONE: *out is complete. MORE: out->total, always above `len`, says how many
 * bytes it takes. TOO_BIG: the header announces more than the limit; its fields are in *out (whom to answer, how much
 * to skip), total and body are not. */
enum vmctl_frame_status vmctl_frame_peek(const struct vmctl_frame_format *f, const uint8_t *in, size_t len,
                                         struct vmctl_frame *out);

/* Writes the header of a frame (f->head bytes) for a body of frame->size bytes; returns the header's length.
 * The values must fit their fields. */
size_t vmctl_frame_put_head(const struct vmctl_frame_format *f, uint8_t *out, const struct vmctl_frame *frame);

#endif
