/* Common parts of the fuzz targets. A target takes its input as it would come from the wire: the choices that a test needs
 * besides (where to cut, which limit) are all tried, or derived from the input, so that any capture can be a seed. */
#ifndef VMCTL_FUZZ_H
#define VMCTL_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUZZ_SHORT = 24 }; /* bytes: inputs below it are cut everywhere */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that does not hold ends the process; the fuzzer then keeps the input. */
#define CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

static inline _Noreturn void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

/* A copy in a block of exactly that size: the sanitizer sees each byte that is read beyond. Freed by the caller. */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(1, size);
    if (size > 0) {
        CHECK(copy != NULL);
        memcpy(copy, data, size);
    }
    return copy;
}

/* The n-th place to cut an input, n below fuzz_cuts: every one of a short input, scattered ones of a long one. */
static inline size_t fuzz_cut(const uint8_t *data, size_t size, size_t n)
{
    if (size < FUZZ_SHORT)
        return n;
    uint64_t hash = 1469598103u + n;
    for (size_t i = 0; i < size && i < 256; i++)
        hash = (hash ^ data[i]) * 1099511627u % 4294967291u; /* below 2^63 before the remainder: wraps nowhere */
    return (size_t)(hash % (size + 1));
}

/* How many of them to try. */
static inline size_t fuzz_cuts(size_t size)
{
    return size < FUZZ_SHORT ? size + 1 : 4;
}

#endif
