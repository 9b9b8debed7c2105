/* Layers: whatever the bytes are, and however they are cut, the same image or the same refusal comes out. Check sums are made right
 * where their field is "SSSSSSSS", so that inputs get behind them. */
#include "fuzz.h"

#include "wire/layers.h"

enum { BLOCK = 512, SUM_AT = 148, SUM_SIZE = 8, MOST_NAMES = 1000, MOST_BYTES = 1 << 20 };

struct seen {
    uint64_t hash, size;
    int err;
};

static int on_write(void *ctx, const void *bytes, size_t len, uint64_t at)
{
    struct seen *s = ctx;
    const uint8_t *p = bytes;
    s->hash = (s->hash ^ at) * 1099511628211u;
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ p[i]) * 1099511628211u;
    return 0;
}

static int on_discard(void *ctx, uint64_t at, uint64_t len)
{
    struct seen *s = ctx;
    s->hash = (s->hash ^ at ^ len) * 1099511628211u;
    return 0;
}

static void put_sums(uint8_t *bytes, size_t len)
{
    for (size_t at = 0; len - at >= BLOCK; at += BLOCK) {
        unsigned sum = 0;
        for (size_t i = 0; i < BLOCK; i++)
            sum += i >= SUM_AT && i < SUM_AT + SUM_SIZE ? ' ' : bytes[at + i];
        if (memcmp(bytes + at + SUM_AT, "SSSSSSSS", SUM_SIZE) == 0)
            snprintf((char *)bytes + at + SUM_AT, SUM_SIZE, "%06o", sum);
    }
}

static void feed(struct vmctl_layers *l, const uint8_t *bytes, size_t len, size_t cut)
{
    vmctl_layers_begin(l);
    while (len) {
        size_t n = len < cut ? len : cut;
        uint8_t *piece = fuzz_copy(bytes, n);
        vmctl_layers_feed(l, piece, n);
        free(piece);
        bytes += n;
        len -= n;
    }
    vmctl_layers_end(l);
}

/* The first half is the lower layer. */
static struct seen build(const uint8_t *bytes, size_t len, size_t cut)
{
    struct seen s = { .hash = 1469598103934665603u };
    struct vmctl_erofs_sink sink = { .ctx = &s, .write = on_write, .discard = on_discard };
    struct vmctl_layers_limits limits = { .entries = MOST_NAMES, .bytes = MOST_BYTES };
    struct vmctl_layers l;
    size_t half = len / 2 / BLOCK * BLOCK;
    CHECK(vmctl_layers_open(&l, &sink, &limits) == 0);
    feed(&l, bytes, half, cut);
    feed(&l, bytes + half, len - half, cut);
    s.err = vmctl_layers_finish(&l, &s.size);
    vmctl_layers_find(&l, "/a/b/../c");
    vmctl_layers_close(&l);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = fuzz_copy(data, size);
    put_sums(bytes, size);
    struct seen whole = build(bytes, size, size + 1), cut = build(bytes, size, 7);
    CHECK(whole.err == cut.err);
    CHECK(whole.err || (whole.hash == cut.hash && whole.size == cut.size));
    free(bytes);
    return 0;
}
