/* Writes the blocks of a pcapng file. */
#include "wire/pcapng.h"

#include <string.h>

enum { SECTION = 0x0a0d0d0a, INTERFACE = 1, PACKET = 6, MAGIC = 0x1a2b3c4d, ETHERNET = 1 };
enum { OPT_END = 0, OPT_COMMENT = 1, EPB_FLAGS = 2, IF_NAME = 2, IF_TSRESOL = 9, NANOSECONDS = 9 };
enum { NAME_MAX_LEN = 255, COMMENT_MAX_LEN = 65535 };

static uint8_t *put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    return at + 2;
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    return put16(put16(at, value & 0xffff), value >> 16);
}

static size_t padded(size_t len)
{
    return (len + 3) / 4 * 4;
}

static uint8_t *put_padded(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    memset(at + len, 0, padded(len) - len);
    return at + padded(len);
}

/* Type, length, body, length again. */
static int block_begin(struct vmctl_buf *out, uint32_t type, size_t body, uint8_t **at)
{
    size_t total = 12 + body;
    int err = total > UINT32_MAX ? -ENOBUFS : vmctl_buf_reserve(out, total);
    if (err)
        return err;
    *at = put32(put32(out->data + out->end, type), (uint32_t)total);
    return 0;
}

static int block_end(struct vmctl_buf *out, uint8_t *at)
{
    size_t total = (size_t)(at - (out->data + out->end)) + 4;
    put32(at, (uint32_t)total);
    out->end += total;
    return 0;
}

int vmctl_pcapng_section(struct vmctl_buf *out)
{
    uint8_t *at;
    int err = block_begin(out, SECTION, 16, &at);
    if (err)
        return err;
    at = put16(put16(put32(at, MAGIC), 1), 0);
    return block_end(out, put32(put32(at, 0xffffffff), 0xffffffff)); /* a section of unknown length */
}

int vmctl_pcapng_interface(struct vmctl_buf *out, const char *name, uint32_t longest)
{
    size_t len = strlen(name);
    if (len > NAME_MAX_LEN)
        len = NAME_MAX_LEN;
    uint8_t *at;
    int err = block_begin(out, INTERFACE, 8 + 4 + padded(len) + 8 + 4, &at);
    if (err)
        return err;
    at = put32(put16(put16(at, ETHERNET), 0), longest);
    at = put_padded(put16(put16(at, IF_NAME), (uint32_t)len), name, len);
    at = put32(put16(put16(at, IF_TSRESOL), 1), NANOSECONDS);
    return block_end(out, put16(put16(at, OPT_END), 0));
}

/* An option: its number, its length, its value. */
static uint8_t *put_option(uint8_t *at, uint32_t number, const void *value, size_t len)
{
    return put_padded(put16(put16(at, number), (uint32_t)len), value, len);
}

int vmctl_pcapng_packet(struct vmctl_buf *out, const struct vmctl_pcapng_packet *p)
{
    uint8_t *at, flags[4];
    size_t comment = p->comment_len < COMMENT_MAX_LEN ? p->comment_len : COMMENT_MAX_LEN;
    size_t options = 8 + (comment ? 4 + padded(comment) : 0) + 4;
    int err = p->kept > UINT32_MAX / 2 ? -ENOBUFS : block_begin(out, PACKET, 20 + padded(p->kept) + options, &at);
    if (err)
        return err;
    at = put32(put32(put32(at, p->interface), (uint32_t)(p->ns >> 32)), (uint32_t)p->ns);
    at = put32(put32(at, (uint32_t)p->kept), (uint32_t)p->len);
    at = put_padded(at, p->frame, p->kept);
    if (comment)
        at = put_option(at, OPT_COMMENT, p->comment, comment);
    put32(flags, p->flags);
    at = put_option(at, EPB_FLAGS, flags, sizeof flags);
    return block_end(out, put16(put16(at, OPT_END), 0));
}

uint32_t vmctl_pcapng_size(const uint8_t *block)
{
    return (uint32_t)block[4] | (uint32_t)block[5] << 8 | (uint32_t)block[6] << 16 | (uint32_t)block[7] << 24;
}
