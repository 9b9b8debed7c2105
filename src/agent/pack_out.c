/* The archive as bytes: a buffer in front of standard output, and tar's headers. */
#include "agent/pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME = 100, PRIVATE = 500, FAILED = 2 };

static void write_all(const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, len);
        if (n < 0 && errno != EINTR)
            _exit(FAILED); /* nobody reads it any more */
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

void vmctl_pack_flush(struct vmctl_pack_out *out)
{
    write_all(out->bytes, out->len);
    out->len = 0;
}

/* `from`: NULL: zeros. */
static void put(struct vmctl_pack_out *out, const uint8_t *from, uint64_t len)
{
    while (len > 0) {
        size_t n = PACK_OUT - out->len < len ? PACK_OUT - out->len : (size_t)len;
        if (from)
            memcpy(out->bytes + out->len, from, n);
        else
            memset(out->bytes + out->len, 0, n);
        out->len += n;
        from = from ? from + n : NULL;
        len -= n;
        if (out->len >= PACK_SEND)
            vmctl_pack_flush(out);
    }
}

void vmctl_pack_write(struct vmctl_pack_out *out, const void *bytes, size_t len)
{
    if (len)
        put(out, bytes, len);
}

void vmctl_pack_zeros(struct vmctl_pack_out *out, uint64_t len)
{
    put(out, NULL, len);
}

void vmctl_pack_pad(struct vmctl_pack_out *out, uint64_t size)
{
    vmctl_pack_zeros(out, -size % PACK_BLOCK);
}

/* Octal digits and a zero; where they have no room, a binary number behind a first byte of 0x80 (0xff: a negative one). */
static void put_number(uint8_t *field, size_t width, int64_t value)
{
    if (value >= 0 && value < INT64_C(1) << 3 * (width - 1)) {
        field[width - 1] = '\0';
        for (size_t i = width - 1; i-- > 0; value >>= 3)
            field[i] = (uint8_t)('0' + (value & 7));
        return;
    }
    for (size_t i = width; i-- > 1; value = value < 0 ? ~(~value >> 8) : value >> 8)
        field[i] = (uint8_t)(value & 0xff);
    field[0] = value < 0 ? 0xff : 0x80;
}

static void put_text(uint8_t *field, const char *text)
{
    size_t len = strlen(text);
    memcpy(field, text, len < NAME ? len : NAME);
}

static void put_sum(uint8_t block[PACK_BLOCK])
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < PACK_BLOCK; i++)
        sum += block[i];
    put_number(block + 148, 7, sum);
}

/* A long name goes in front of the header, as GNU tar has it. */
static void put_long(struct vmctl_pack_out *out, char type, const char *text)
{
    if (strlen(text) > NAME)
        vmctl_pack_special(out, type, "././@LongLink", text, strlen(text) + 1);
}

void vmctl_pack_special(struct vmctl_pack_out *out, char type, const char *name, const void *body, size_t len)
{
    const struct stat ours = { .st_mode = 0644 };
    vmctl_pack_header(out, &(struct vmctl_pack_entry){ .path = name, .type = type, .st = &ours, .size = len });
    vmctl_pack_write(out, body, len);
    vmctl_pack_pad(out, len);
}

/* The nanoseconds of the time have no field. They stand where ustar has nothing, "vn" and nine digits: see docs/wire/exec.md. */
static void put_nanoseconds(uint8_t *field, long nsec)
{
    char text[16];
    if (nsec <= 0 || nsec > 999999999)
        return;
    snprintf(text, sizeof text, "vn%09ld", nsec);
    memcpy(field, text, 11);
}

void vmctl_pack_header(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e)
{
    uint8_t block[PACK_BLOCK] = { 0 };
    put_long(out, 'K', e->link ? e->link : "");
    put_long(out, 'L', e->path);
    put_text(block, e->path);
    put_number(block + 100, 8, e->st->st_mode & 07777);
    put_number(block + 108, 8, e->st->st_uid);
    put_number(block + 116, 8, e->st->st_gid);
    put_number(block + 124, 12, (int64_t)e->size);
    put_number(block + 136, 12, e->st->st_mtim.tv_sec);
    block[156] = (uint8_t)e->type;
    put_text(block + 157, e->link ? e->link : "");
    memcpy(block + 257, "ustar\00000", 8);
    put_number(block + 329, 8, 0); /* device numbers are not needed: readers make no devices */
    put_number(block + 337, 8, 0);
    put_nanoseconds(block + PRIVATE, e->st->st_mtim.tv_nsec);
    put_sum(block);
    vmctl_pack_write(out, block, sizeof block);
}

void vmctl_pack_add(struct vmctl_pack_text *t, const void *bytes, size_t len)
{
    if (t->failed || t->cap - t->len < len) {
        size_t cap = 2 * t->cap + len + 256;
        char *grown = t->failed ? NULL : realloc(t->bytes, cap);
        t->failed = !grown;
        if (!grown)
            return;
        t->bytes = grown;
        t->cap = cap;
    }
    if (len)
        memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
}

void vmctl_pack_record(struct vmctl_pack_text *t, const char *key, const void *value, size_t len)
{
    char digits[24];
    size_t body = strlen(key) + len + 3, own = 1; /* a space, "=" and a line feed; the digits of the length */
    while (own != (size_t)snprintf(digits, sizeof digits, "%zu", body + own))
        own++;
    vmctl_pack_add(t, digits, own);
    vmctl_pack_add(t, " ", 1);
    vmctl_pack_add(t, key, strlen(key));
    vmctl_pack_add(t, "=", 1);
    vmctl_pack_add(t, value, len);
    vmctl_pack_add(t, "\n", 1);
}
