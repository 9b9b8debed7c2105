/* The reader of tar archives: a state for each kind of bytes that can come next. */
#include "wire/tar.h"

#include "wire/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum state { HEADER, EXTRA, SPARSE_HEADER, MAP, DATA, PAD };

void vmctl_tar_open(struct vmctl_tar *t, const struct vmctl_tar_visitor *visitor)
{
    *t = (struct vmctl_tar){ .visitor = *visitor, .state = HEADER };
}

void vmctl_tar_close(struct vmctl_tar *t)
{
    free(t->extra.bytes);
    free(t->pax.path.bytes);
    free(t->pax.link.bytes);
    free(t->pax.name.bytes);
    vmctl_xattrs_free(&t->pax.xattrs);
    free(t->pieces);
    *t = (struct vmctl_tar){ .err = VMCTL_ECLOSED };
}

static int tar_bad(struct vmctl_tar *t, const char *why)
{
    t->why = why;
    return -EPROTO;
}

/* The sum of the bytes, with blanks for the field itself; some writers took them for signed. */
static bool sum_fits(const uint8_t *b)
{
    int64_t told, plain = 0, with_sign = 0;
    for (size_t i = 0; i < VMCTL_TAR_BLOCK; i++) {
        uint8_t byte = i >= 148 && i < 156 ? ' ' : b[i];
        plain += byte;
        with_sign += (int8_t)byte;
    }
    return vmctl_tar_number(b + 148, 8, &told) && (told == plain || told == with_sign);
}

static size_t field_len(const uint8_t *p, size_t size)
{
    const uint8_t *end = memchr(p, 0, size);
    return end ? (size_t)(end - p) : size;
}

static const char *field_text(struct vmctl_tar *t, int which, const uint8_t *p, size_t size, size_t *len)
{
    *len = field_len(p, size);
    memcpy(t->text[which], p, *len);
    t->text[which][*len] = 0;
    return t->text[which];
}

static bool is_ustar(const uint8_t *b)
{
    return memcmp(b + 257, "ustar\0", 6) == 0;
}

static void header_path(struct vmctl_tar *t)
{
    const uint8_t *b = t->block;
    struct vmctl_tar_entry *e = &t->entry;
    const struct vmctl_tar_text *told = t->pax.has_name ? &t->pax.name : t->pax.has_path ? &t->pax.path : NULL;
    if (told) {
        e->path = told->bytes;
        e->path_len = told->len;
    } else if (is_ustar(b) && b[345]) {
        size_t n = field_len(b + 345, 155), m = field_len(b, 100);
        memcpy(t->text[0], b + 345, n);
        t->text[0][n] = '/';
        memcpy(t->text[0] + n + 1, b, m);
        t->text[0][n + 1 + m] = 0;
        e->path = t->text[0];
        e->path_len = n + 1 + m;
    } else {
        e->path = field_text(t, 0, b, 100, &e->path_len);
    }
    if (t->pax.has_link) {
        e->target = t->pax.link.bytes;
        e->target_len = t->pax.link.len;
    } else {
        e->target = field_text(t, 1, b + 157, 100, &e->target_len);
    }
}

static bool header_kind(char type, const struct vmctl_tar_entry *e, enum vmctl_tar_kind *kind)
{
    switch (type) {
    case 0: *kind = e->path_len && e->path[e->path_len - 1] == '/' ? VMCTL_TAR_FOLDER : VMCTL_TAR_FILE; return true;
    case '0': case '7': case 'S': *kind = VMCTL_TAR_FILE; return true;
    case '1': *kind = VMCTL_TAR_LINK; return true;
    case '2': *kind = VMCTL_TAR_SYMLINK; return true;
    case '3': *kind = VMCTL_TAR_CHAR; return true;
    case '4': *kind = VMCTL_TAR_BLOCK_DEVICE; return true;
    case '5': case 'D': *kind = VMCTL_TAR_FOLDER; return true;
    case '6': *kind = VMCTL_TAR_FIFO; return true;
    default: return false;
    }
}

/* A field that a pax record may replace. */
static bool field_number(const uint8_t *p, size_t size, bool told, uint64_t value, int64_t *out)
{
    if (!told)
        return vmctl_tar_number(p, size, out);
    *out = (int64_t)value;
    return true;
}

/* Of our own archives: "vn", nine digits, a zero, where ustar has nothing (docs/wire/exec.md). */
static uint32_t header_nsec(const uint8_t *b)
{
    const uint8_t *p = b + 500;
    uint32_t nsec = 0;
    if (p[0] != 'v' || p[1] != 'n' || p[11])
        return 0;
    for (int i = 2; i < 11; i++) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        nsec = 10 * nsec + (p[i] - (uint32_t)'0');
    }
    return nsec;
}

static int header_numbers(struct vmctl_tar *t, int64_t *size)
{
    const uint8_t *b = t->block;
    const struct vmctl_tar_pax *p = &t->pax;
    int64_t mode, uid, gid, mtime, major = 0, minor = 0;
    bool device = b[156] == '3' || b[156] == '4';
    if (!vmctl_tar_number(b + 100, 8, &mode) || !field_number(b + 108, 8, p->has_uid, p->uid, &uid) ||
        !field_number(b + 116, 8, p->has_gid, p->gid, &gid) || !field_number(b + 124, 12, p->has_size, p->size, size) ||
        !field_number(b + 136, 12, p->has_mtime, (uint64_t)p->mtime, &mtime) ||
        (device && (!vmctl_tar_number(b + 329, 8, &major) || !vmctl_tar_number(b + 337, 8, &minor))))
        return tar_bad(t, "a header with a number that is none");
    if (uid < 0 || gid < 0 || uid > UINT32_MAX || gid > UINT32_MAX)
        return tar_bad(t, "an owner whose number has more than 32 bits");
    if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
        return tar_bad(t, "a device whose number Linux cannot have");
    if (*size < 0)
        return tar_bad(t, "a size below 0");
    struct vmctl_tar_entry *e = &t->entry;
    e->mode = (uint32_t)mode & 07777;
    e->uid = (uint32_t)uid;
    e->gid = (uint32_t)gid;
    e->mtime = mtime;
    e->nsec = p->has_mtime ? p->nsec : header_nsec(b);
    e->major = (uint32_t)major;
    e->minor = (uint32_t)minor;
    return 0;
}

/* The entry is known, its data comes. */
static int entry_begin(struct vmctl_tar *t)
{
    struct vmctl_tar_entry *e = &t->entry;
    e->size = e->kind != VMCTL_TAR_FILE ? 0 : t->sparse ? t->size : t->left;
    if (t->sparse && t->piece_count) {
        const struct vmctl_tar_piece *last = &t->pieces[t->piece_count - 1];
        if (last->at + last->len > t->size)
            return tar_bad(t, "a sparse file's map that leads over its end");
    }
    t->pos = t->piece = 0;
    t->state = DATA;
    return t->visitor.entry(t->visitor.ctx, e);
}

static int header_sparse(struct vmctl_tar *t)
{
    int64_t real;
    if (t->block[156] != 'S') {
        t->sparse = t->entry.kind == VMCTL_TAR_FILE && t->pax.sparse != 0;
        t->size = t->pax.real;
        t->map_left = UINT64_MAX;
        t->mapped = t->number = 0;
        t->digits = false;
        if (t->sparse && !t->pax.has_real)
            return tar_bad(t, "a sparse file without its size");
        if (!t->sparse || t->pax.sparse == 1)
            return entry_begin(t);
        t->piece_count = 0;
        t->state = MAP;
        return 0;
    }
    if (!vmctl_tar_number(t->block + 483, 12, &real) || real < 0)
        return tar_bad(t, "a sparse file without its size");
    t->sparse = true;
    t->size = (uint64_t)real;
    t->piece_count = 0;
    int err = vmctl_tar_sparse_header(t, t->block + 386, 4);
    if (err || !t->block[482])
        return err ? err : entry_begin(t);
    t->state = SPARSE_HEADER;
    return 0;
}

static int extra_begin(struct vmctl_tar *t, char type)
{
    int64_t size;
    if (!vmctl_tar_number(t->block + 124, 12, &size) || size < 0)
        return tar_bad(t, "a header with a number that is none");
    if (size > VMCTL_TAR_EXTRA) {
        t->why = "a header that is too large";
        return VMCTL_ETOOBIG;
    }
    t->extra_type = type;
    t->extra.len = 0;
    t->left = (uint64_t)size;
    t->pad = -t->left % VMCTL_TAR_BLOCK;
    t->state = EXTRA;
    return 0;
}

static int header_read(struct vmctl_tar *t)
{
    const uint8_t *b = t->block;
    char type = (char)b[156];
    if (b[0] == 0 && memcmp(b, b + 1, VMCTL_TAR_BLOCK - 1) == 0) {
        t->ended = true;
        return 0;
    }
    if (!sum_fits(b))
        return tar_bad(t, "a header whose check sum is wrong");
    if (type == 'x' || type == 'X' || type == 'g' || type == 'L' || type == 'K' || type == 'V')
        return extra_begin(t, type);
    t->entry = (struct vmctl_tar_entry){ .xattrs = &t->pax.xattrs };
    header_path(t);
    int64_t size;
    if (!header_kind(type, &t->entry, &t->entry.kind))
        return tar_bad(t, "an entry of a kind that is not known");
    int err = header_numbers(t, &size);
    if (err)
        return err;
    bool has_data = t->entry.kind == VMCTL_TAR_FILE || type == 'D';
    t->left = has_data ? (uint64_t)size : 0;
    t->pad = -t->left % VMCTL_TAR_BLOCK;
    return header_sparse(t);
}

static int extra_end(struct vmctl_tar *t)
{
    struct vmctl_tar_pax *p = &t->pax;
    const char *bytes = t->extra.bytes ? t->extra.bytes : "";
    size_t len = field_len((const uint8_t *)bytes, t->extra.len);
    switch (t->extra_type) {
    case 'x': case 'X': return vmctl_tar_pax_read(t, bytes, t->extra.len);
    case 'L': p->has_path = true; return vmctl_tar_text_set(&p->path, bytes, len);
    case 'K': p->has_link = true; return vmctl_tar_text_set(&p->link, bytes, len);
    default: return 0; /* a volume's name; a global header, whose keys for all files mean nothing here */
    }
}

static int extra_add(struct vmctl_tar *t, const uint8_t *bytes, size_t len)
{
    struct vmctl_tar_text *x = &t->extra;
    if (x->cap - x->len < len) {
        size_t cap = x->cap ? x->cap : 1024;
        while (cap < x->len + len)
            cap *= 2;
        char *grown = realloc(x->bytes, cap);
        if (!grown)
            return -ENOMEM;
        x->bytes = grown;
        x->cap = cap;
    }
    memcpy(x->bytes + x->len, bytes, len);
    x->len += len;
    return 0;
}

/* Collects a block; it is whole when t->have is 0 again. */
static size_t block_add(struct vmctl_tar *t, const uint8_t *bytes, size_t len)
{
    size_t n = VMCTL_TAR_BLOCK - t->have < len ? VMCTL_TAR_BLOCK - t->have : len;
    memcpy(t->block + t->have, bytes, n);
    t->have = (t->have + n) % VMCTL_TAR_BLOCK;
    return n;
}

static int data_add(struct vmctl_tar *t, const uint8_t *bytes, size_t len)
{
    if (t->entry.kind != VMCTL_TAR_FILE || len == 0)
        return 0;
    return t->sparse ? vmctl_tar_sparse_data(t, bytes, len) : t->visitor.data(t->visitor.ctx, bytes, len);
}

static int data_end(struct vmctl_tar *t)
{
    int err = t->sparse ? vmctl_tar_sparse_end(t) : 0;
    if (!err && t->entry.kind == VMCTL_TAR_FILE)
        err = t->visitor.end(t->visitor.ctx);
    vmctl_tar_pax_clear(t);
    t->sparse = false;
    return err;
}

/* The steps that need no more bytes. */
static int tar_settle(struct vmctl_tar *t)
{
    int err = 0;
    if (t->state == MAP && t->map_left == 0 && t->mapped % VMCTL_TAR_BLOCK == 0)
        err = entry_begin(t);
    else if (t->state == MAP && t->left == 0)
        err = tar_bad(t, "a sparse file's map that ends early");
    if (!err && t->left == 0 && (t->state == EXTRA || t->state == DATA)) {
        err = t->state == EXTRA ? extra_end(t) : data_end(t);
        t->state = PAD;
    }
    if (t->state == PAD && t->pad == 0)
        t->state = HEADER;
    return err;
}

/* Takes some of the bytes, at least one. */
static int tar_step(struct vmctl_tar *t, const uint8_t *bytes, size_t len, size_t *taken)
{
    int err = 0;
    size_t n = t->left < len ? (size_t)t->left : len;
    switch (t->state) {
    case HEADER:
    case SPARSE_HEADER:
        *taken = block_add(t, bytes, len);
        if (t->have)
            return 0;
        if (t->state == HEADER)
            return header_read(t);
        err = vmctl_tar_sparse_header(t, t->block, 21);
        return err || t->block[504] ? err : entry_begin(t);
    case EXTRA: err = extra_add(t, bytes, n); break;
    case MAP: err = vmctl_tar_sparse_map(t, bytes, n, &n); break;
    case DATA: err = data_add(t, bytes, n); break;
    default:
        *taken = t->pad < len ? (size_t)t->pad : len;
        t->pad -= *taken;
        return 0;
    }
    t->left -= n;
    *taken = n;
    return err;
}

int vmctl_tar_feed(struct vmctl_tar *t, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    while (len && !t->err && !t->ended) {
        size_t taken = 0;
        t->err = tar_step(t, p, len, &taken);
        if (!t->err)
            t->err = tar_settle(t);
        p += taken;
        len -= taken;
    }
    return t->err;
}

int vmctl_tar_end(struct vmctl_tar *t)
{
    if (t->err || t->ended)
        return t->err;
    bool between = t->state == HEADER && t->have == 0;
    return between ? 0 : tar_bad(t, "an archive that ends in the middle of an entry");
}
