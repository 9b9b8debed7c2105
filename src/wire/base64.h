/* Base64 of RFC 4648, section 4: standard alphabet with padding. */
#ifndef VMCTL_WIRE_BASE64_H
#define VMCTL_WIRE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes that encoding `len` bytes takes; 0 if that does not fit size_t (and for len 0). */
size_t vmctl_base64_encoded_size(size_t len);

/* Encodes into `out` (vmctl_base64_encoded_size bytes); returns the bytes written. */
size_t vmctl_base64_encode(const uint8_t *in, size_t len, char *out);

/* Decodes strictly: no white space, no missing padding, no stray bits in the last group. `out` needs len / 4 * 3
 * bytes. Returns the bytes written, or -EPROTO. */
ssize_t vmctl_base64_decode(const char *in, size_t len, uint8_t *out);

#endif
