/* Reads and writes the heads of frames. */
#include "wire/frame.h"

#include "wire/bytes.h"

#include <errno.h>
#include <stdbool.h>

enum { FRAME_LENGTH_SIZE = 4 };

static int frame_layout_check(enum vmctl_frame_order order, unsigned type_size, unsigned stream_size,
                              unsigned flags_size)
{
    if (type_size > 2 || (stream_size != 0 && stream_size != 4) || flags_size > 1)
        return -EINVAL;
    switch (order) {
    case VMCTL_FRAME_LENGTH_FIRST:
        return 0;
    case VMCTL_FRAME_TYPE_FIRST:
        return stream_size || flags_size ? -EINVAL : 0;
    }
    return -EINVAL;
}

int vmctl_frame_layout(struct vmctl_frame_format *f, enum vmctl_frame_order order, unsigned type_size,
                       unsigned stream_size, unsigned flags_size, uint32_t max)
{
    int err = frame_layout_check(order, type_size, stream_size, flags_size);
    if (err)
        return err;
    /* The fields lie one behind the other, so that writing all of them leaves no byte of the header unset. */
    unsigned length_at = order == VMCTL_FRAME_TYPE_FIRST ? type_size : 0;
    unsigned stream_at = length_at + FRAME_LENGTH_SIZE;
    unsigned type_at = order == VMCTL_FRAME_TYPE_FIRST ? 0 : stream_at + stream_size;
    unsigned flags_at = order == VMCTL_FRAME_TYPE_FIRST ? stream_at : type_at + type_size;
    *f = (struct vmctl_frame_format){
        .head = (uint8_t)(flags_at + flags_size),
        .length_at = (uint8_t)length_at,
        .type_at = (uint8_t)type_at,
        .type_size = (uint8_t)type_size,
        .stream_at = (uint8_t)stream_at,
        .stream_size = (uint8_t)stream_size,
        .flags_at = (uint8_t)flags_at,
        .flags_size = (uint8_t)flags_size,
        .max = max,
    };
    return 0;
}

uint32_t vmctl_frame_limit(const struct vmctl_frame_format *f, uint32_t type)
{
    return type < f->nlimits ? f->limits[type] : f->max;
}

static uint32_t frame_get_type(const struct vmctl_frame_format *f, const uint8_t *in)
{
    switch (f->type_size) {
    case 1:
        return in[f->type_at];
    case 2:
        return vmctl_get_be16(in + f->type_at);
    }
    return 0;
}

enum vmctl_frame_status vmctl_frame_peek(const struct vmctl_frame_format *f, const uint8_t *in, size_t len,
                                         struct vmctl_frame *out)
{
    if (len < f->head) {
        out->total = f->head;
        return VMCTL_FRAME_MORE;
    }
    uint32_t type = frame_get_type(f, in);
    size_t size = vmctl_get_be32(in + f->length_at);
    /* The second test matters where size_t has 32 bits: head + size must not wrap below. */
    bool too_big = size > vmctl_frame_limit(f, type) || size > SIZE_MAX - VMCTL_FRAME_HEAD_MAX;
    if (!too_big && len - f->head < size) {
        out->total = f->head + size;
        return VMCTL_FRAME_MORE;
    }
    out->type = type;
    out->stream = f->stream_size ? vmctl_get_be32(in + f->stream_at) : 0;
    out->flags = f->flags_size ? in[f->flags_at] : 0;
    out->size = size;
    if (too_big)
        return VMCTL_FRAME_TOO_BIG; /* before any buffer grows for it */
    out->total = f->head + size;
    out->body = in + f->head;
    return VMCTL_FRAME_DONE;
}

size_t vmctl_frame_put_head(const struct vmctl_frame_format *f, uint8_t *out, const struct vmctl_frame *frame)
{
    vmctl_put_be32(out + f->length_at, (uint32_t)frame->size);
    if (f->type_size == 1)
        out[f->type_at] = (uint8_t)frame->type;
    else if (f->type_size == 2)
        vmctl_put_be16(out + f->type_at, (uint16_t)frame->type);
    if (f->stream_size)
        vmctl_put_be32(out + f->stream_at, frame->stream);
    if (f->flags_size)
        out[f->flags_at] = frame->flags;
    return f->head;
}
