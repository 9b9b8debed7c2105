/* Lines ended by LF, for ndjson and for text handshakes. */
#ifndef VMCTL_WIRE_LINE_H
#define VMCTL_WIRE_LINE_H

#include <stddef.h>
#include <stdint.h>

enum vmctl_line_status { VMCTL_LINE_DONE, VMCTL_LINE_MORE, VMCTL_LINE_TOO_BIG };

struct vmctl_line {
    size_t size;  /* without LF and without one CR before it */
    size_t total; /* with them: what to consume */
};

/* Looks for the first line of the input. `max` counts the LF; TOO_BIG comes as soon as `max` bytes hold none. `scanned`
 * (0 for a new line; DONE sets it so) is kept by the caller between calls on the same growing input: bytes known to
 * hold no LF, so that a long line is searched only once. */
enum vmctl_line_status vmctl_line_peek(const uint8_t *in, size_t len, size_t max, size_t *scanned,
                                       struct vmctl_line *out);

#endif
