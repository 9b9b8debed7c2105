/* Searches for the end of a line, each byte once. */
#include "wire/line.h"

#include <string.h>

enum vmctl_line_status vmctl_line_peek(const uint8_t *in, size_t len, size_t max, size_t *scanned,
                                       struct vmctl_line *out)
{
    size_t window = len < max ? len : max; /* an LF beyond it would be too late */
    const uint8_t *lf = NULL;
    if (*scanned < window)                 /* not so for an empty input, whose `in` may be NULL */
        lf = memchr(in + *scanned, '\n', window - *scanned);
    if (!lf) {
        if (window == max)
            return VMCTL_LINE_TOO_BIG;
        *scanned = len;
        return VMCTL_LINE_MORE;
    }
    size_t size = (size_t)(lf - in);
    out->total = size + 1;
    out->size = size > 0 && in[size - 1] == '\r' ? size - 1 : size;
    *scanned = 0; /* what follows is a new line */
    return VMCTL_LINE_DONE;
}
