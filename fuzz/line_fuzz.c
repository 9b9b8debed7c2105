/* Lines: the same ones whatever the cuts, as a search byte by byte finds them, with every limit. */
#include "fuzz.h"

#include "wire/line.h"

/* The same contract, the slow way, without memory between calls. */
static enum vmctl_line_status slow_peek(const uint8_t *in, size_t len, size_t max, struct vmctl_line *out)
{
    size_t at = 0;
    while (at < len && at < max && in[at] != '\n')
        at++;
    if (at == max)
        return VMCTL_LINE_TOO_BIG;
    if (at == len)
        return VMCTL_LINE_MORE;
    out->total = at + 1;
    out->size = at > 0 && in[at - 1] == '\r' ? at - 1 : at;
    return VMCTL_LINE_DONE;
}

static enum vmctl_line_status peek(const uint8_t *in, size_t len, size_t max, size_t *scanned, struct vmctl_line *out)
{
    struct vmctl_line slow;
    uint8_t *exact = fuzz_copy(in, len);
    enum vmctl_line_status status = vmctl_line_peek(exact, len, max, scanned, out);
    CHECK(status == slow_peek(exact, len, max, &slow));
    if (status == VMCTL_LINE_DONE) {
        CHECK(out->size == slow.size && out->total == slow.total);
        CHECK(*scanned == 0);
    } else {
        CHECK(*scanned <= len);
        CHECK(memchr(exact, '\n', *scanned) == NULL);
        CHECK(status != VMCTL_LINE_MORE || *scanned == len); /* no byte is searched twice */
    }
    free(exact);
    return status;
}

/* Takes lines of data[*at .. end) as a reader does who has got so far; false: no more lines, ever. */
static int take_lines(const uint8_t *data, size_t *at, size_t end, size_t max, size_t *scanned)
{
    for (;;) {
        struct vmctl_line line;
        switch (peek(data + *at, end - *at, max, scanned, &line)) {
        case VMCTL_LINE_DONE:
            *at += line.total;
            break;
        case VMCTL_LINE_MORE:
            return 1;
        case VMCTL_LINE_TOO_BIG:
            CHECK(peek(data + *at, end - *at, max, scanned, &line) == VMCTL_LINE_TOO_BIG); /* it stays so */
            return 0;
        }
    }
}

static void check_cut(const uint8_t *data, size_t size, size_t max, size_t cut)
{
    size_t at = 0, scanned = 0;
    size_t whole_at = 0, whole_scanned = 0;
    int more = take_lines(data, &at, cut, max, &scanned) && take_lines(data, &at, size, max, &scanned);
    CHECK(more == take_lines(data, &whole_at, size, max, &whole_scanned));
    CHECK(at == whole_at && (!more || scanned == whole_scanned));
}

/* A reader may come back with another limit for the same unfinished line. */
static void check_other_limit(const uint8_t *data, size_t size, size_t max, size_t other)
{
    size_t scanned = 0;
    struct vmctl_line line;
    if (peek(data, size / 2, max, &scanned, &line) == VMCTL_LINE_DONE)
        return;
    peek(data, size, other, &scanned, &line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t limits[] = { 0, 1, 2, 32, size / 2, size, size + 1, SIZE_MAX };
    size_t nlimits = sizeof limits / sizeof limits[0];
    for (size_t i = 0; i < nlimits; i++) {
        for (size_t n = 0; n < fuzz_cuts(size); n++)
            check_cut(data, size, limits[i], fuzz_cut(data, size, n));
        check_other_limit(data, size, limits[i], limits[nlimits - 1 - i]);
    }

    struct vmctl_line line;
    size_t scanned = 0;
    CHECK(vmctl_line_peek(NULL, 0, 1, &scanned, &line) == VMCTL_LINE_MORE);
    return 0;
}
