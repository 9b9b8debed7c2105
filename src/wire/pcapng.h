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

/* A frame as an interface brought it, `ns` after 1970. */
int vmctl_pcapng_packet(struct vmctl_buf *out, uint32_t interface, uint64_t ns, const uint8_t *frame, size_t len);

#endif
