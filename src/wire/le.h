/* Little-endian integers, written a byte at a time. */
#ifndef VMCTL_WIRE_LE_H
#define VMCTL_WIRE_LE_H

#include <stdint.h>

static inline void vmctl_put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void vmctl_put_le32(uint8_t *p, uint32_t v)
{
    vmctl_put_le16(p, (uint16_t)v);
    vmctl_put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void vmctl_put_le64(uint8_t *p, uint64_t v)
{
    vmctl_put_le32(p, (uint32_t)v);
    vmctl_put_le32(p + 4, (uint32_t)(v >> 32));
}

#endif
