/* SHA-256, a block at a time. */
#include "wire/sha256.h"

#include <string.h>

enum { SHA256_ROUNDS = 64, SHA256_LENGTH_AT = VMCTL_SHA256_BLOCK - 8, SHA256_MUCH = 64 * 1024 };

/* The first 32 bits of the fractions of the cube roots of the first 64 primes. */
static const uint32_t sha256_k[SHA256_ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t sha256_rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static uint32_t sha256_get32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

/* The message schedule of a block. */
static void sha256_expand(const uint8_t *block, uint32_t w[SHA256_ROUNDS])
{
    for (int i = 0; i < 16; i++)
        w[i] = sha256_get32(block + 4 * i);
    for (int i = 16; i < SHA256_ROUNDS; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t s0 = sha256_rotate(a, 7) ^ sha256_rotate(a, 18) ^ a >> 3;
        uint32_t s1 = sha256_rotate(b, 17) ^ sha256_rotate(b, 19) ^ b >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

/* The letters are the standard's. */
static void sha256_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[SHA256_ROUNDS];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    sha256_expand(block, w);
    for (int i = 0; i < SHA256_ROUNDS; i++) {
        uint32_t s1 = sha256_rotate(e, 6) ^ sha256_rotate(e, 11) ^ sha256_rotate(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + sha256_k[i] + w[i];
        uint32_t s0 = sha256_rotate(a, 2) ^ sha256_rotate(a, 13) ^ sha256_rotate(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

/* Asking the processor takes longer than a short text: inside a virtual machine the hypervisor answers. */
static void sha256_blocks(struct vmctl_sha256 *h, const uint8_t *in, size_t count)
{
    if (h->speed == 0 && count * VMCTL_SHA256_BLOCK >= SHA256_MUCH)
        h->speed = vmctl_sha256_x86_is_there() ? 2 : 1;
    if (h->speed == 2) {
        vmctl_sha256_x86_blocks(h->state, in, count, sha256_k);
        return;
    }
    for (size_t i = 0; i < count; i++)
        sha256_block(h->state, in + i * VMCTL_SHA256_BLOCK);
}

void vmctl_sha256_init(struct vmctl_sha256 *h)
{
    *h = (struct vmctl_sha256){ .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                           0x1f83d9ab, 0x5be0cd19 } };
}

void vmctl_sha256_update(struct vmctl_sha256 *h, const void *bytes, size_t len)
{
    const uint8_t *in = bytes;
    size_t held = (size_t)(h->bytes % VMCTL_SHA256_BLOCK);
    h->bytes += len;
    if (held) {
        size_t part = VMCTL_SHA256_BLOCK - held < len ? VMCTL_SHA256_BLOCK - held : len;
        memcpy(h->block + held, in, part);
        in += part;
        len -= part;
        if (held + part < VMCTL_SHA256_BLOCK)
            return;
        sha256_block(h->state, h->block);
    }
    size_t whole = len / VMCTL_SHA256_BLOCK;
    sha256_blocks(h, in, whole);
    if (len % VMCTL_SHA256_BLOCK)
        memcpy(h->block, in + whole * VMCTL_SHA256_BLOCK, len % VMCTL_SHA256_BLOCK);
}

void vmctl_sha256_digest(const struct vmctl_sha256 *h, uint8_t out[VMCTL_SHA256_SIZE])
{
    struct vmctl_sha256 last = *h;
    size_t held = (size_t)(h->bytes % VMCTL_SHA256_BLOCK);
    uint64_t bits = h->bytes * 8;
    last.block[held++] = 0x80;
    memset(last.block + held, 0, VMCTL_SHA256_BLOCK - held);
    if (held > SHA256_LENGTH_AT) { /* no room for the length: one more block */
        sha256_block(last.state, last.block);
        memset(last.block, 0, VMCTL_SHA256_BLOCK);
    }
    for (int i = 0; i < 8; i++)
        last.block[SHA256_LENGTH_AT + i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_block(last.state, last.block);
    for (int i = 0; i < VMCTL_SHA256_SIZE; i++)
        out[i] = (uint8_t)(last.state[i / 4] >> (24 - 8 * (i % 4)));
}
