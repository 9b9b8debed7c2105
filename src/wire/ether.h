/* Ethernet frames as QEMU's stream sockets carry them: no preamble, no FCS, often not padded. */
#ifndef VMCTL_WIRE_ETHER_H
#define VMCTL_WIRE_ETHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    VMCTL_ETHER_MIN = 14,         /* two addresses and the type */
    VMCTL_ETHER_MAX = 4096 + 65536, /* what QEMU takes: docs/wire/qemu-l2.md#framing */
    VMCTL_ETHER_HEAD = 4          /* the length in front of each frame, big endian */
};

static inline uint32_t vmctl_ether_length(const uint8_t *head)
{
    return (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
}

static inline void vmctl_ether_put_length(uint8_t *head, uint32_t length)
{
    head[0] = (uint8_t)(length >> 24);
    head[1] = (uint8_t)(length >> 16);
    head[2] = (uint8_t)(length >> 8);
    head[3] = (uint8_t)length;
}

/* The 48 bits of an address, in the low end. `at` must have 6 bytes. */
static inline uint64_t vmctl_ether_address(const uint8_t *at)
{
    return (uint64_t)at[0] << 40 | (uint64_t)at[1] << 32 | (uint64_t)at[2] << 24 | (uint64_t)at[3] << 16 |
           (uint64_t)at[4] << 8 | at[5];
}

/* The same of an address that is followed by two bytes more, as both of a frame are. */
static inline uint64_t vmctl_ether_frame_address(const uint8_t *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes >> 16;
}

/* Broadcast and multicast: the lowest bit of the first byte. */
static inline bool vmctl_ether_is_group(uint64_t address)
{
    return address >> 40 & 1;
}

/* 01:80:c2:00:00:00 to 0f: of one link alone, which no bridge forwards (IEEE 802.1D, table 7-10). */
static inline bool vmctl_ether_is_of_link(uint64_t address)
{
    return address >> 4 == UINT64_C(0x0180c200000);
}

/* The VLAN of a frame's outer tag, 0 without one. `len` bytes are there. */
static inline unsigned vmctl_ether_vlan(const uint8_t *frame, size_t len)
{
    if (len < 16)
        return 0;
    unsigned type = (unsigned)frame[12] << 8 | frame[13];
    return type == 0x8100 || type == 0x88a8 ? ((unsigned)frame[14] << 8 | frame[15]) & 0xfff : 0;
}

#endif
