/* Capture files in the pcapng format (IETF draft-ietf-opsawg-pcapng, sections 4.1 to 4.3), little endian. */
#ifndef VMCTL_WIRE_PCAPNG_H
#define VMCTL_WIRE_PCAPNG_H

#include "wire/buf.h"

#include <stddef.h>
#include <stdint.h>

/* Each appends one block: all of it, or none and the error of vmctl_buf_reserve. */

int vmctl_pcapng_section(struct vmctl_buf *out);

/* An Ethernet interface; they are numbered from 0 in the order in which they are written. Its name is cut at 255 bytes. */
int vmctl_pcapng_interface(struct vmctl_buf *out, const char *name, uint32_t longest);

enum { VMCTL_PCAPNG_INBOUND = 1 }; /* of the flags of section 4.3.1: the direction */

struct vmctl_pcapng_packet {
    uint32_t interface;
    uint32_t flags;
    uint64_t ns;            /* after 1970 */
    const uint8_t *frame;
    size_t len, kept;       /* bytes of the frame, and those that are written */
    const char *comment;
    size_t comment_len;     /* 0: none; cut at 65535 */
};

/* A frame as an interface brought it. */
int vmctl_pcapng_packet(struct vmctl_buf *out, const struct vmctl_pcapng_packet *p);

/* The size of the block that begins there. */
uint32_t vmctl_pcapng_size(const uint8_t *block);

#endif
