/* Extended attributes of EROFS: a header of 12 bytes behind the inode, the numbers of shared entries, then inline ones. */
#include "wire/erofs.h"
#include "wire/error.h"
#include "wire/le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BODY_HEAD = 12,
    BODY_SHARED = 255,        /* numbers of shared entries: their count is a byte */
    BODY_INLINE = 1024,       /* bytes of entries behind an inode */
    ENTRY_HEAD = 4,
    ENTRY_SHORT = 48,         /* longer entries are shared */
    SHARED_MOST = 64 * 1024 * 1024
};

static const struct {
    const char *text;
    uint8_t number;
    bool whole; /* the name, and not a prefix of it */
} prefixes[] = {
    { "user.", 1, false },
    { "system.posix_acl_access", 2, true },
    { "system.posix_acl_default", 3, true },
    { "trusted.", 4, false },
    { "security.", 6, false }
};

/* The prefix's length, or 0: EROFS has no number for it. */
static size_t prefix_of(const struct vmctl_xattr *a, uint8_t *number)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i].text);
        bool fits = prefixes[i].whole ? a->name_len == len : a->name_len > len;
        if (fits && memcmp(a->name, prefixes[i].text, len) == 0) {
            *number = prefixes[i].number;
            return len;
        }
    }
    return 0;
}

static size_t entry_size(const struct vmctl_xattr *a, size_t prefix)
{
    return (ENTRY_HEAD + a->name_len - prefix + a->value_len + 3) & ~(size_t)3;
}

static void entry_put(uint8_t *out, const struct vmctl_xattr *a, size_t prefix, uint8_t number)
{
    size_t name = a->name_len - prefix;
    memset(out, 0, entry_size(a, prefix));
    out[0] = (uint8_t)name;
    out[1] = number;
    vmctl_put_le16(out + 2, (uint16_t)a->value_len);
    memcpy(out + ENTRY_HEAD, a->name + prefix, name);
    if (a->value_len)
        memcpy(out + ENTRY_HEAD + name, a->value, a->value_len);
}

static uint64_t hash_bytes(const uint8_t *p, size_t len)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static size_t shared_size(const uint8_t *entry)
{
    return (ENTRY_HEAD + (size_t)entry[0] + (size_t)(entry[2] | entry[3] << 8) + 3) & ~(size_t)3;
}

static void slots_put(struct vmctl_erofs *w, uint32_t at)
{
    size_t i = (size_t)hash_bytes(w->shared + at, shared_size(w->shared + at)) & (w->slot_count - 1);
    while (w->slots[i])
        i = (i + 1) & (w->slot_count - 1);
    w->slots[i] = at + 1;
}

/* The table is at most half full. */
static int slots_room(struct vmctl_erofs *w)
{
    if (w->slots_used < w->slot_count / 2)
        return 0;
    size_t count = w->slot_count ? w->slot_count * 2 : 64;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    free(w->slots);
    w->slots = slots;
    w->slot_count = count;
    for (size_t at = 0; at < w->shared_len; at += shared_size(w->shared + at))
        slots_put(w, (uint32_t)at);
    return 0;
}

static int shared_room(struct vmctl_erofs *w, size_t size)
{
    if (size > SHARED_MOST - w->shared_len)
        return VMCTL_ETOOBIG;
    if (w->shared_cap - w->shared_len >= size)
        return 0;
    size_t cap = w->shared_cap ? w->shared_cap * 2 : VMCTL_EROFS_BLOCK;
    while (cap < w->shared_len + size)
        cap *= 2;
    uint8_t *bytes = realloc(w->shared, cap);
    if (!bytes)
        return -ENOMEM;
    w->shared = bytes;
    w->shared_cap = cap;
    return 0;
}

/* The number of a shared entry: its offset in units of four bytes. The entry is made at the end, and kept if there is no equal one. */
static int shared_number(struct vmctl_erofs *w, const struct vmctl_xattr *a, size_t prefix, uint8_t number, uint32_t *out)
{
    size_t size = entry_size(a, prefix);
    int err = shared_room(w, size);
    if (!err)
        err = slots_room(w);
    if (err)
        return err;
    uint8_t *made = w->shared + w->shared_len;
    entry_put(made, a, prefix, number);
    size_t i = (size_t)hash_bytes(made, size) & (w->slot_count - 1);
    for (; w->slots[i]; i = (i + 1) & (w->slot_count - 1)) {
        uint32_t at = w->slots[i] - 1;
        if (shared_size(w->shared + at) == size && memcmp(w->shared + at, made, size) == 0) {
            *out = at / 4;
            return 0;
        }
    }
    w->slots[i] = (uint32_t)w->shared_len + 1;
    w->slots_used++;
    *out = (uint32_t)w->shared_len / 4;
    w->shared_len += size;
    return 0;
}

int vmctl_erofs_body(struct vmctl_erofs *w, const struct vmctl_xattrs *x, uint8_t *out, size_t *len)
{
    uint8_t entries[BODY_INLINE];
    size_t inlined = 0, shared = 0, at = 0;
    struct vmctl_xattr a;
    *len = 0;
    while (x && vmctl_xattrs_next(x, &at, &a)) {
        uint8_t number = 0;
        size_t prefix = prefix_of(&a, &number), size = entry_size(&a, prefix);
        if (prefix == 0) {
            continue; /* of a kind that EROFS has no number for */
        } else if (size <= ENTRY_SHORT && size <= BODY_INLINE - inlined) {
            entry_put(entries + inlined, &a, prefix, number);
            inlined += size;
        } else {
            uint32_t id;
            int err = shared == BODY_SHARED ? VMCTL_ETOOBIG : shared_number(w, &a, prefix, number, &id);
            if (err)
                return err;
            vmctl_put_le32(out + BODY_HEAD + 4 * shared++, id);
        }
    }
    if (inlined + shared == 0)
        return 0;
    memset(out, 0, BODY_HEAD);
    out[4] = (uint8_t)shared;
    memcpy(out + BODY_HEAD + 4 * shared, entries, inlined);
    *len = BODY_HEAD + 4 * shared + inlined;
    return 0;
}
