/* The writer of EROFS images: inodes in runs of blocks among the data, which is appended. */
#include "wire/erofs.h"

#include "wire/error.h"
#include "wire/le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    EROFS_SUPER = 1024,      /* offset of the superblock */
    EROFS_SUPER_SIZE = 128,
    EROFS_ROOT = 1152,       /* offset of the root's inode: its number has 16 bits */
    EROFS_INODE = 64,
    EROFS_SLOT = 32,
    EROFS_RUN = 16 * VMCTL_EROFS_BLOCK, /* of blocks for inodes */
    EROFS_OUT = 1024 * 1024,
    EROFS_PLAIN = 0,         /* layouts of data */
    EROFS_INLINE = 2
};

static const uint32_t EROFS_MAGIC = 0xE0F5E1E2u;
static const uint64_t EROFS_BLOCKS = UINT32_MAX - 1; /* addresses of blocks have 32 bits, and the highest means none */

int vmctl_erofs_open(struct vmctl_erofs *w, const struct vmctl_erofs_sink *sink)
{
    *w = (struct vmctl_erofs){ .sink = *sink, .next = EROFS_RUN / VMCTL_EROFS_BLOCK, .meta_used = VMCTL_EROFS_BLOCK };
    w->meta = calloc(1, EROFS_RUN);
    w->out = malloc(EROFS_OUT);
    if (w->meta && w->out)
        return 0;
    vmctl_erofs_close(w);
    return -ENOMEM;
}

void vmctl_erofs_close(struct vmctl_erofs *w)
{
    free(w->meta);
    free(w->out);
    free(w->shared);
    free(w->slots);
    w->meta = w->out = w->shared = NULL;
    w->slots = NULL;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* The bytes of whole blocks of zeros at the beginning. */
static size_t zero_run(const uint8_t *p, size_t len)
{
    size_t n = 0;
    while (len - n >= VMCTL_EROFS_BLOCK && is_zero(p + n, VMCTL_EROFS_BLOCK))
        n += VMCTL_EROFS_BLOCK;
    return n;
}

static size_t data_run(const uint8_t *p, size_t len)
{
    size_t n = 0;
    while (len - n >= VMCTL_EROFS_BLOCK && !is_zero(p + n, VMCTL_EROFS_BLOCK))
        n += VMCTL_EROFS_BLOCK;
    return len - n < VMCTL_EROFS_BLOCK ? len : n;
}

static int out_flush(struct vmctl_erofs *w)
{
    size_t at = 0;
    while (at < w->out_len) {
        at += zero_run(w->out + at, w->out_len - at);
        size_t n = data_run(w->out + at, w->out_len - at);
        int err = n ? w->sink.write(w->sink.ctx, w->out + at, n, w->out_at + at) : 0;
        if (err)
            return err;
        at += n;
    }
    w->out_len = 0;
    return 0;
}

static int out_put(struct vmctl_erofs *w, const uint8_t *bytes, size_t len, uint64_t at)
{
    if (w->out_len && w->out_at + w->out_len != at) {
        int err = out_flush(w);
        if (err)
            return err;
    }
    while (len) {
        if (w->out_len == 0)
            w->out_at = at;
        size_t n = EROFS_OUT - w->out_len < len ? EROFS_OUT - w->out_len : len;
        memcpy(w->out + w->out_len, bytes, n);
        w->out_len += n;
        bytes += n;
        at += n;
        len -= n;
        int err = w->out_len == EROFS_OUT ? out_flush(w) : 0;
        if (err)
            return err;
    }
    return 0;
}

/* Writes bytes among the inodes: into the run in memory, or into one that was written. */
static int meta_put(struct vmctl_erofs *w, const void *bytes, size_t len, uint64_t at)
{
    if (len == 0)
        return 0;
    if (at < w->meta_at || at - w->meta_at >= EROFS_RUN)
        return w->sink.write(w->sink.ctx, bytes, len, at);
    memcpy(w->meta + (at - w->meta_at), bytes, len);
    return 0;
}

static int meta_flush(struct vmctl_erofs *w)
{
    int err = w->sink.write(w->sink.ctx, w->meta, EROFS_RUN, w->meta_at);
    memset(w->meta, 0, EROFS_RUN);
    return err;
}

static int take_blocks(struct vmctl_erofs *w, uint64_t count, uint64_t *first)
{
    if (count > EROFS_BLOCKS - w->next)
        return VMCTL_ETOOBIG;
    *first = w->next;
    w->next += count;
    return 0;
}

/* Reserves `len` bytes, at most a block, in one block. */
static int meta_take(struct vmctl_erofs *w, size_t len, uint64_t *at)
{
    size_t left = VMCTL_EROFS_BLOCK - w->meta_used % VMCTL_EROFS_BLOCK;
    if (len > left)
        w->meta_used += left;
    if (w->meta_used == EROFS_RUN) {
        uint64_t first;
        int err = take_blocks(w, EROFS_RUN / VMCTL_EROFS_BLOCK, &first);
        if (!err)
            err = meta_flush(w);
        if (err)
            return err;
        w->meta_at = first * VMCTL_EROFS_BLOCK;
        w->meta_used = 0;
    }
    *at = w->meta_at + w->meta_used;
    w->meta_used += (len + EROFS_SLOT - 1) / EROFS_SLOT * EROFS_SLOT;
    return 0;
}

int vmctl_erofs_place(struct vmctl_erofs *w, const struct vmctl_erofs_meta *m, uint64_t size, bool root, struct vmctl_erofs_place *out)
{
    uint8_t body[VMCTL_EROFS_BODY];
    size_t len;
    int err = vmctl_erofs_body(w, m->xattrs, body, &len);
    if (err)
        return err;
    size_t room = root ? VMCTL_EROFS_BLOCK - EROFS_ROOT : VMCTL_EROFS_BLOCK, rest = size % VMCTL_EROFS_BLOCK;
    *out = (struct vmctl_erofs_place){ .at = EROFS_ROOT, .size = size, .body = (uint16_t)len };
    /* A kernel reads a file's blocks by one request, a folder's one by one. A tail beside the inode saves a request where it is all
     * of a file, or a folder's; else it only keeps other inodes out of the block. */
    bool beside = size < VMCTL_EROFS_BLOCK || !S_ISREG(m->mode);
    out->tail = rest && beside && EROFS_INODE + len + rest <= room;
    if (!root)
        err = meta_take(w, EROFS_INODE + len + (out->tail ? rest : 0), &out->at);
    uint64_t count = size / VMCTL_EROFS_BLOCK + (rest && !out->tail), first = 0;
    if (!err && count)
        err = take_blocks(w, count, &first);
    out->block = (uint32_t)first;
    out->count = (uint32_t)count;
    return err;
}

/* The kernel's new_encode_dev. */
static uint32_t device_number(const struct vmctl_erofs_meta *m)
{
    return (m->minor & 0xff) | m->major << 8 | (m->minor & ~0xffu) << 12;
}

int vmctl_erofs_start(struct vmctl_erofs *w, const struct vmctl_erofs_meta *m, const struct vmctl_erofs_place *place, uint32_t links)
{
    uint8_t inode[EROFS_INODE + VMCTL_EROFS_BODY] = { 0 };
    size_t len;
    int err = vmctl_erofs_body(w, m->xattrs, inode + EROFS_INODE, &len);
    if (err)
        return err;
    bool device = S_ISCHR(m->mode) || S_ISBLK(m->mode);
    vmctl_put_le16(inode, (uint16_t)(1 | (place->tail ? EROFS_INLINE : EROFS_PLAIN) << 1));
    vmctl_put_le16(inode + 2, (uint16_t)(len ? (len - 12) / 4 + 1 : 0));
    vmctl_put_le16(inode + 4, (uint16_t)m->mode);
    vmctl_put_le64(inode + 8, place->size);
    vmctl_put_le32(inode + 16, device ? device_number(m) : place->block);
    vmctl_put_le32(inode + 20, (uint32_t)++w->inodes);
    vmctl_put_le32(inode + 24, m->uid);
    vmctl_put_le32(inode + 28, m->gid);
    vmctl_put_le64(inode + 32, (uint64_t)m->mtime);
    vmctl_put_le32(inode + 40, m->nsec);
    vmctl_put_le32(inode + 44, links);
    w->now = *place;
    w->pos = 0;
    return meta_put(w, inode, EROFS_INODE + len, place->at);
}

int vmctl_erofs_write(struct vmctl_erofs *w, const void *bytes, size_t len)
{
    const struct vmctl_erofs_place *f = &w->now;
    const uint8_t *p = bytes;
    if (len > f->size - w->pos)
        return -EINVAL;
    uint64_t blocks = (uint64_t)f->count * VMCTL_EROFS_BLOCK;
    size_t n = w->pos >= blocks ? 0 : blocks - w->pos < len ? (size_t)(blocks - w->pos) : len;
    int err = n ? out_put(w, p, n, (uint64_t)f->block * VMCTL_EROFS_BLOCK + w->pos) : 0;
    w->pos += n;
    if (err || n == len)
        return err;
    uint64_t at = f->at + EROFS_INODE + f->body + (w->pos - blocks);
    w->pos += len - n;
    return meta_put(w, p + n, len - n, at);
}

int vmctl_erofs_skip(struct vmctl_erofs *w, uint64_t len)
{
    if (len > w->now.size - w->pos)
        return -EINVAL;
    w->pos += len;
    return 0;
}

int vmctl_erofs_links(struct vmctl_erofs *w, uint64_t nid, uint32_t links)
{
    uint8_t le[4];
    vmctl_put_le32(le, links);
    return meta_put(w, le, sizeof le, nid * EROFS_SLOT + 44);
}

int vmctl_erofs_drop(struct vmctl_erofs *w, const struct vmctl_erofs_place *place)
{
    uint64_t from = (uint64_t)place->block * VMCTL_EROFS_BLOCK, len = (uint64_t)place->count * VMCTL_EROFS_BLOCK;
    int err = out_flush(w);
    return err || len == 0 ? err : w->sink.discard(w->sink.ctx, from, len);
}

static int put_super(struct vmctl_erofs *w, uint64_t xattr_block)
{
    uint8_t super[EROFS_SUPER_SIZE] = { 0 };
    vmctl_put_le32(super, EROFS_MAGIC);
    super[12] = 12; /* 2^12 bytes a block */
    vmctl_put_le16(super + 14, EROFS_ROOT / EROFS_SLOT);
    vmctl_put_le64(super + 16, w->inodes);
    vmctl_put_le32(super + 36, (uint32_t)w->next);
    vmctl_put_le32(super + 44, (uint32_t)xattr_block);
    return meta_put(w, super, sizeof super, EROFS_SUPER);
}

int vmctl_erofs_finish(struct vmctl_erofs *w, uint64_t *size)
{
    uint64_t block = 0, count = (w->shared_len + VMCTL_EROFS_BLOCK - 1) / VMCTL_EROFS_BLOCK;
    int err = out_flush(w);
    if (!err && count)
        err = take_blocks(w, count, &block);
    if (!err && count)
        err = w->sink.write(w->sink.ctx, w->shared, w->shared_len, block * VMCTL_EROFS_BLOCK);
    if (!err)
        err = put_super(w, block);
    if (!err)
        err = meta_flush(w);
    *size = w->next * VMCTL_EROFS_BLOCK;
    return err;
}
