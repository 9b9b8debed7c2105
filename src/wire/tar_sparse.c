/* Sparse files: a map of the pieces that are in the archive, in the header, in pax records, or in front of the data. */
#include "wire/error.h"
#include "wire/tar.h"

#include <errno.h>
#include <stdlib.h>

enum { SPARSE_ENTRY = 24, SPARSE_NUMBER = 12 };

static int sparse_bad(struct vmctl_tar *t, const char *why)
{
    t->why = why;
    return -EPROTO;
}

/* Pieces come in order and do not overlap. */
int vmctl_tar_piece_add(struct vmctl_tar *t, uint64_t at, uint64_t len)
{
    uint64_t before = 0;
    if (t->piece_count)
        before = t->pieces[t->piece_count - 1].at + t->pieces[t->piece_count - 1].len;
    if (at < before || at > INT64_MAX || len > INT64_MAX - at)
        return sparse_bad(t, "a sparse file's map that is out of order");
    if (t->piece_count == VMCTL_TAR_PIECES) {
        t->why = "a sparse file with too many pieces";
        return VMCTL_ETOOBIG;
    }
    if (t->piece_count == t->piece_cap) {
        size_t cap = t->piece_cap ? t->piece_cap * 2 : 32;
        struct vmctl_tar_piece *grown = realloc(t->pieces, cap * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        t->pieces = grown;
        t->piece_cap = cap;
    }
    t->pieces[t->piece_count++] = (struct vmctl_tar_piece){ at, len };
    return 0;
}

/* The entries of a header of GNU's old form, up to the first that is empty. */
int vmctl_tar_sparse_header(struct vmctl_tar *t, const uint8_t *entries, size_t count)
{
    for (size_t i = 0; i < count && entries[i * SPARSE_ENTRY + SPARSE_NUMBER] != 0; i++) {
        int64_t at, len;
        const uint8_t *e = entries + i * SPARSE_ENTRY;
        if (!vmctl_tar_number(e, SPARSE_NUMBER, &at) || !vmctl_tar_number(e + SPARSE_NUMBER, SPARSE_NUMBER, &len) || at < 0 || len < 0)
            return sparse_bad(t, "a sparse file's map that is none");
        int err = vmctl_tar_piece_add(t, (uint64_t)at, (uint64_t)len);
        if (err)
            return err;
    }
    return 0;
}

/* One number of the map in front of the data: the count of pieces, then for each its offset and its length. */
static int map_number(struct vmctl_tar *t)
{
    if (t->map_left == UINT64_MAX) {
        if (t->number > VMCTL_TAR_PIECES) {
            t->why = "a sparse file with too many pieces";
            return VMCTL_ETOOBIG;
        }
        t->map_left = t->number * 2;
        return 0;
    }
    if (t->map_left-- % 2 == 0) {
        t->pax.offset = t->number;
        return 0;
    }
    return vmctl_tar_piece_add(t, t->pax.offset, t->number);
}

/* Form 1.0: decimal numbers, a line each, filled up to a whole block. `*taken` says how many bytes belong to the map. */
int vmctl_tar_sparse_map(struct vmctl_tar *t, const uint8_t *bytes, size_t len, size_t *taken)
{
    size_t i = 0;
    int err = 0;
    for (; i < len && t->map_left && !err; i++) {
        unsigned digit = (unsigned)bytes[i] - '0';
        if (bytes[i] == '\n' && t->digits) {
            err = map_number(t);
            t->number = 0;
            t->digits = false;
        } else if (digit > 9 || t->number > ((uint64_t)INT64_MAX - digit) / 10) {
            err = sparse_bad(t, "a sparse file's map that is none");
        } else {
            t->number = t->number * 10 + digit;
            t->digits = true;
        }
    }
    t->mapped += i;
    if (!t->map_left) {
        size_t fill = (size_t)(-t->mapped % VMCTL_TAR_BLOCK);
        fill = fill < len - i ? fill : len - i;
        t->mapped += fill;
        i += fill;
    }
    *taken = i;
    return err;
}

static int sparse_hole(struct vmctl_tar *t, uint64_t until)
{
    uint64_t len = until - t->pos;
    t->pos = until;
    return len ? t->visitor.hole(t->visitor.ctx, len) : 0;
}

int vmctl_tar_sparse_data(struct vmctl_tar *t, const uint8_t *bytes, size_t len)
{
    while (len) {
        if (t->piece == t->piece_count)
            return sparse_bad(t, "a sparse file with more data than its map has");
        const struct vmctl_tar_piece *p = &t->pieces[t->piece];
        int err = t->pos < p->at ? sparse_hole(t, p->at) : 0;
        uint64_t left = p->at + p->len - t->pos;
        size_t n = left < len ? (size_t)left : len;
        if (!err && n)
            err = t->visitor.data(t->visitor.ctx, bytes, n);
        if (err)
            return err;
        t->pos += n;
        bytes += n;
        len -= n;
        t->piece += t->pos == p->at + p->len;
    }
    return 0;
}

/* Pieces of no length may be left, as tar ends a map with one at the file's size. */
int vmctl_tar_sparse_end(struct vmctl_tar *t)
{
    for (; t->piece < t->piece_count; t->piece++)
        if (t->pieces[t->piece].len)
            return sparse_bad(t, "a sparse file with less data than its map has");
    return sparse_hole(t, t->size);
}
