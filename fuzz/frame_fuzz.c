/* Frames: what a decoder says about an input never depends on how the input was cut, agrees with a slow reading of the
 * same bytes, and writes back to them. */
#include "fuzz.h"

#include "wire/frame.h"

enum { EXEC_TYPES = 24 };

/* Where the fields must lie, written down a second time by hand. */
struct shape {
    enum vmctl_frame_order order;
    unsigned type_size, stream_size, flags_size;
    size_t head, length_at, type_at, stream_at, flags_at;
    uint32_t max;
    uint32_t nlimits;
};

static const struct shape shapes[] = {
    /* exec, without and with limits by type */
    { .order = VMCTL_FRAME_TYPE_FIRST, .type_size = 1, .head = 5, .length_at = 1, .max = 1 << 20 },
    { .order = VMCTL_FRAME_TYPE_FIRST, .type_size = 1, .head = 5, .length_at = 1, .max = 100, .nlimits = EXEC_TYPES },
    /* layer 2 */
    { .order = VMCTL_FRAME_TYPE_FIRST, .head = 4, .max = 69632 },
    /* cc, with the usual limit and without any */
    { .order = VMCTL_FRAME_TYPE_FIRST, .type_size = 2, .head = 6, .length_at = 2, .max = 64 << 20 },
    { .order = VMCTL_FRAME_TYPE_FIRST, .type_size = 2, .head = 6, .length_at = 2, .max = UINT32_MAX },
    /* ttrpc */
    { .order = VMCTL_FRAME_LENGTH_FIRST, .type_size = 1, .stream_size = 4, .flags_size = 1, .head = 10,
      .stream_at = 4, .type_at = 8, .flags_at = 9, .max = 4 << 20 },
    /* nobody's */
    { .order = VMCTL_FRAME_LENGTH_FIRST, .type_size = 2, .head = 6, .type_at = 4, .max = 0 },
};

static uint32_t slow_get(const uint8_t *in, size_t at, size_t size)
{
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | in[at + i];
    return value;
}

/* The fields of a complete header against the bytes that they came from. */
static void check_head(const struct shape *s, const struct vmctl_frame_format *f, const uint8_t *in,
                       const struct vmctl_frame *frame)
{
    CHECK(frame->size == slow_get(in, s->length_at, 4));
    CHECK(frame->type == slow_get(in, s->type_at, s->type_size));
    CHECK(frame->stream == slow_get(in, s->stream_at, s->stream_size));
    CHECK(frame->flags == slow_get(in, s->flags_at, s->flags_size));

    uint8_t again[VMCTL_FRAME_HEAD_MAX];
    memset(again, 0x5a, sizeof again);
    CHECK(vmctl_frame_put_head(f, again, frame) == s->head);
    CHECK(memcmp(again, in, s->head) == 0);
    for (size_t i = s->head; i < sizeof again; i++)
        CHECK(again[i] == 0x5a);
}

static void check_frame(const struct shape *s, const struct vmctl_frame_format *f, const uint8_t *in, size_t len,
                        enum vmctl_frame_status status, const struct vmctl_frame *frame)
{
    switch (status) {
    case VMCTL_FRAME_MORE:
        CHECK(frame->total > len);
        CHECK(len >= s->head || frame->total == s->head);
        return;
    case VMCTL_FRAME_TOO_BIG:
        CHECK(len >= s->head);
        CHECK(frame->size > vmctl_frame_limit(f, frame->type));
        check_head(s, f, in, frame);
        return;
    case VMCTL_FRAME_DONE:
        CHECK(frame->size <= vmctl_frame_limit(f, frame->type));
        CHECK(frame->total == s->head + frame->size && frame->total <= len);
        CHECK(frame->body == in + s->head);
        check_head(s, f, in, frame);
        return;
    }
    fuzz_fail(__FILE__, __LINE__, "the status exists");
}

static enum vmctl_frame_status peek(const struct shape *s, const struct vmctl_frame_format *f, const uint8_t *in,
                                    size_t len, struct vmctl_frame *frame)
{
    uint8_t *exact = fuzz_copy(in, len);
    enum vmctl_frame_status status = vmctl_frame_peek(f, exact, len, frame);
    check_frame(s, f, exact, len, status, frame);
    if (status == VMCTL_FRAME_DONE)
        frame->body = in + (frame->body - exact);
    free(exact);
    return status;
}

/* MORE must name the first length at which the answer changes. */
static void check_more(const struct shape *s, const struct vmctl_frame_format *f, const uint8_t *in, size_t len,
                       size_t total)
{
    struct vmctl_frame frame;
    if (total > len)
        return;
    CHECK(peek(s, f, in, total - 1, &frame) == VMCTL_FRAME_MORE && frame.total == total);
    CHECK(peek(s, f, in, total, &frame) != VMCTL_FRAME_MORE || frame.total > total);
}

/* The frames of the first `cut` bytes are the first frames of the whole, and the rest is taken up where they end. */
static void check_cut(const struct shape *s, const struct vmctl_frame_format *f, const uint8_t *data, size_t size,
                      size_t cut)
{
    for (size_t at = 0;;) {
        struct vmctl_frame part, whole;
        enum vmctl_frame_status status = peek(s, f, data + at, cut - at, &part);
        if (status == VMCTL_FRAME_MORE) {
            check_more(s, f, data + at, size - at, part.total);
            return;
        }
        CHECK(peek(s, f, data + at, size - at, &whole) == status);
        CHECK(part.type == whole.type && part.stream == whole.stream && part.flags == whole.flags);
        CHECK(part.size == whole.size);
        if (status == VMCTL_FRAME_TOO_BIG)
            return;
        CHECK(part.total == whole.total && part.body == whole.body);
        at += part.total;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t limits[EXEC_TYPES] = { [1] = 20, [2] = 0, [5] = 4, [11] = 1000, [17] = UINT32_MAX };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct shape *s = &shapes[i];
        struct vmctl_frame_format f;
        CHECK(vmctl_frame_layout(&f, s->order, s->type_size, s->stream_size, s->flags_size, s->max) == 0);
        CHECK(f.head == s->head && f.nlimits == 0);
        f.nlimits = s->nlimits;
        f.limits = limits;
        check_cut(s, &f, data, size, size);
        for (size_t n = 0; n < fuzz_cuts(size); n++)
            check_cut(s, &f, data, size, fuzz_cut(data, size, n));
    }
    return 0;
}
