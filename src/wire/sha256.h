/* SHA-256 of FIPS 180-4, in pieces. */
#ifndef VMCTL_WIRE_SHA256_H
#define VMCTL_WIRE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { VMCTL_SHA256_SIZE = 32, VMCTL_SHA256_BLOCK = 64 };

struct vmctl_sha256 {
    uint32_t state[8];
    uint64_t bytes;                     /* taken so far, modulo 2^61 as the standard has it */
    uint8_t block[VMCTL_SHA256_BLOCK];  /* the first bytes % 64 of it wait for the rest */
    uint8_t speed;                      /* of the processor: 0 not looked at, 1 nothing special, 2 it has instructions for this */
};

void vmctl_sha256_init(struct vmctl_sha256 *h);

void vmctl_sha256_update(struct vmctl_sha256 *h, const void *bytes, size_t len);

/* The digest of the bytes so far; `h` itself is not changed and can take more. */
void vmctl_sha256_digest(const struct vmctl_sha256 *h, uint8_t out[VMCTL_SHA256_SIZE]);

/* sha256_x86.c. Tells if this processor has instructions for SHA-256, and hashes whole blocks by them. */
int vmctl_sha256_x86_is_there(void);
void vmctl_sha256_x86_blocks(uint32_t state[8], const uint8_t *in, size_t count, const uint32_t k[64]);

#endif
