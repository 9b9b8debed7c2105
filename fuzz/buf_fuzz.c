/* The byte queue against a plain array: the input is a program of three-byte steps (what to do, how much). */
#include "fuzz.h"

#include "wire/buf.h"
#include "wire/bytes.h"

#include <errno.h>

enum { MODEL_SIZE = 1 << 13 };

struct model {
    uint8_t bytes[MODEL_SIZE];
    size_t len;
    size_t max; /* of the buffer under test */
};

static void check_same(const struct vmctl_buf *b, const struct model *m)
{
    CHECK(b->off <= b->end && b->end <= b->cap);
    CHECK(vmctl_buf_len(b) == m->len);
    CHECK(b->max == m->max);
    CHECK((b->data == NULL) == (b->cap == 0));
    CHECK(m->len > 0 || b->off == 0);
    if (m->len > 0)
        CHECK(memcmp(vmctl_buf_head(b), m->bytes, m->len) == 0);
}

static int reserve(struct vmctl_buf *b, struct model *m, size_t extra)
{
    struct vmctl_buf before = *b;
    int err = vmctl_buf_reserve(b, extra);
    CHECK((err == -ENOBUFS) == (m->len > m->max || extra > m->max - m->len));
    if (err) {
        CHECK(err == -ENOBUFS || err == -ENOMEM);
        CHECK(memcmp(&before, b, sizeof before) == 0);
        return err;
    }
    CHECK(b->cap - b->end >= extra);
    CHECK(b->cap == before.cap || b->cap <= b->max);
    CHECK(b->cap == before.cap || b->cap >= 2 * before.cap || b->cap == b->max); /* growth is geometric */
    if (extra > 0)
        memset(b->data + b->end, 0xee, extra);
    return 0;
}

static void append(struct vmctl_buf *b, struct model *m, size_t len, uint8_t seed)
{
    if (len > MODEL_SIZE - m->len)
        return;
    uint8_t *bytes = calloc(1, len);
    CHECK(len == 0 || bytes != NULL);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((i * 7 + seed) & 0xff);
    int err = vmctl_buf_append(b, bytes, len);
    CHECK((err == 0) == (len == 0 || (m->len <= m->max && len <= m->max - m->len)));
    if (!err && len > 0) {
        memcpy(m->bytes + m->len, bytes, len);
        m->len += len;
    }
    free(bytes);
}

static void consume(struct vmctl_buf *b, struct model *m, size_t len)
{
    if (len > m->len)
        len = m->len;
    vmctl_buf_consume(b, len);
    memmove(m->bytes, m->bytes + len, m->len - len);
    m->len -= len;
}

static void run_step(struct vmctl_buf *b, struct model *m, uint8_t what, size_t amount)
{
    static const size_t limits[] = { 0, 1, 100, 300, 4096, MODEL_SIZE, SIZE_MAX / 2, SIZE_MAX };
    switch (what % 8) {
    case 0:
    case 1:
        append(b, m, amount % MODEL_SIZE, what);
        break;
    case 2:
        append(b, m, amount % 64, what);
        break;
    case 3:
        consume(b, m, amount);
        break;
    case 4:
        consume(b, m, amount % 64);
        break;
    case 5:
        reserve(b, m, amount);
        break;
    case 6: /* lengths that a sum would wrap with */
        if (m->len > m->max || SIZE_MAX - amount > m->max - m->len)
            reserve(b, m, SIZE_MAX - amount);
        break;
    case 7:
        if (amount % 2) {
            vmctl_buf_free(b);
            m->len = 0;
        } else {
            b->max = m->max = limits[amount / 2 % (sizeof limits / sizeof limits[0])];
        }
        break;
    }
}

const char *__asan_default_options(void);
int LLVMFuzzerInitialize(int *argc, char ***argv);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1"; /* instead of ending the process: -ENOMEM is a case of ours */
}

/* No memory: tried once and not as a step, because the sanitizer reports each time. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    struct vmctl_buf b;
    vmctl_buf_init(&b, SIZE_MAX);
    CHECK(vmctl_buf_append(&b, "held", 4) == 0);
    struct vmctl_buf before = b;
    CHECK(vmctl_buf_reserve(&b, SIZE_MAX / 2) == -ENOMEM);
    CHECK(vmctl_buf_reserve(&b, SIZE_MAX - 4) == -ENOMEM);
    CHECK(vmctl_buf_reserve(&b, SIZE_MAX - 3) == -ENOBUFS);
    CHECK(memcmp(&before, &b, sizeof b) == 0 && memcmp(vmctl_buf_head(&b), "held", 4) == 0);
    vmctl_buf_free(&b);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    m->max = MODEL_SIZE;
    struct vmctl_buf b;
    vmctl_buf_init(&b, m->max);
    CHECK(vmctl_buf_head(&b) == NULL);
    for (; size >= 3; size -= 3, data += 3) {
        run_step(&b, m, data[0], vmctl_get_be16(data + 1));
        check_same(&b, m);
    }
    vmctl_buf_free(&b);
    CHECK(b.data == NULL && b.cap == 0 && vmctl_buf_len(&b) == 0);
    free(m);
    return 0;
}
