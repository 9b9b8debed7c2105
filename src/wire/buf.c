/* The byte queue: grows to its limit, and moves the remaining bytes to its front. */
#include "wire/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST = 256 }; /* bytes: the smallest allocation, unless the limit is lower */

void vmctl_buf_init(struct vmctl_buf *b, size_t max)
{
    *b = (struct vmctl_buf){ .max = max };
}

void vmctl_buf_free(struct vmctl_buf *b)
{
    free(b->data);
    vmctl_buf_init(b, b->max);
}

/* The next capacity: doubled, at least `need`, at most the limit. Needs need <= max. */
static size_t buf_next_cap(const struct vmctl_buf *b, size_t need)
{
    size_t cap = b->cap < BUF_FIRST / 2 ? BUF_FIRST / 2 : b->cap;
    cap = cap > b->max / 2 ? b->max : cap * 2;
    return cap > need ? cap : need;
}

/* Moving the bytes to the front is cheap as long as at least as many were consumed since the last move. If not, and the
 * limit allows, the block grows instead: else a queue that stays nearly full would be moved for every few bytes. */
int vmctl_buf_make_room(struct vmctl_buf *b, size_t extra)
{
    size_t len = vmctl_buf_len(b);
    size_t need = len + extra; /* <= max */
    if (need > b->cap || (b->off < len && b->cap < b->max)) {
        size_t cap = buf_next_cap(b, need);
        uint8_t *data = realloc(b->data, cap);
        if (!data)
            return -ENOMEM; /* b is untouched and still valid */
        b->data = data;
        b->cap = cap;
    }
    if (b->cap - b->end < extra) {
        memmove(b->data, b->data + b->off, len);
        b->off = 0;
        b->end = len;
    }
    return 0;
}

int vmctl_buf_append(struct vmctl_buf *b, const void *bytes, size_t len)
{
    if (len == 0)
        return 0; /* memcpy must not see the NULL of an empty buffer */
    int err = vmctl_buf_reserve(b, len);
    if (err)
        return err;
    memcpy(b->data + b->end, bytes, len);
    b->end += len;
    return 0;
}
