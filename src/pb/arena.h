/* Memory of one conversion: allocated in pieces, freed as a whole. It is protobuf-c's allocator while that decodes, and limits the
 * memory and the stack that hostile bytes can take. */
#ifndef VMCTL_PB_ARENA_H
#define VMCTL_PB_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

struct vmctl_arena_chunk;

enum vmctl_arena_end {
    VMCTL_ARENA_FINE,
    VMCTL_ARENA_BIG,   /* more than `most` was asked for */
    VMCTL_ARENA_DEEP,  /* asked from too far down the stack: protobuf-c has no limit of its own for messages in messages */
    VMCTL_ARENA_NOMEM, /* malloc refused */
};

struct vmctl_arena {
    ProtobufCAllocator allocator; /* never frees a piece */
    struct vmctl_arena_chunk *chunks;
    uint8_t *at;
    size_t left;           /* bytes behind `at` */
    size_t taken, most;    /* bytes of all chunks */
    uintptr_t stack;       /* an address in the frame that made the arena */
    enum vmctl_arena_end end;
    _Alignas(8) uint8_t first[2048]; /* small messages need no malloc */
};

/* Makes an arena that takes at most `most` bytes from the system. To be freed in the same function, or above it. */
void vmctl_arena_open(struct vmctl_arena *a, size_t most);

void vmctl_arena_free(struct vmctl_arena *a);

/* `size` bytes for any type with an alignment of 8, not zeroed. NULL: a->end says why. */
void *vmctl_arena_take(struct vmctl_arena *a, size_t size);

/* The size with which a piece was taken. */
size_t vmctl_arena_size(const void *piece);

#endif
