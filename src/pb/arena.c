/* Memory that is freed as a whole, with a limit. */
#include "pb/arena.h"

#include <stdlib.h>
#include <string.h>

enum {
    ARENA_ALIGN = 8,
    ARENA_CHUNK = 16384,
    ARENA_STACK = 512 * 1024, /* bytes: several times what messages nested to the limit need */
};

struct vmctl_arena_chunk {
    struct vmctl_arena_chunk *next;
    uint64_t bytes[]; /* aligned */
};

static void *on_alloc(void *data, size_t size)
{
    return vmctl_arena_take(data, size);
}

static void on_free(void *data, void *piece)
{
    (void)data, (void)piece;
}

void vmctl_arena_open(struct vmctl_arena *a, size_t most)
{
    a->allocator = (ProtobufCAllocator){ .alloc = on_alloc, .free = on_free, .allocator_data = a };
    a->chunks = NULL;
    a->at = a->first;
    a->left = sizeof a->first;
    a->taken = 0;
    a->most = most;
    a->stack = (uintptr_t)__builtin_frame_address(0);
    a->end = VMCTL_ARENA_FINE;
}

void vmctl_arena_free(struct vmctl_arena *a)
{
    while (a->chunks) {
        struct vmctl_arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
    a->left = 0;
}

static void *arena_refuse(struct vmctl_arena *a, enum vmctl_arena_end why)
{
    if (a->end == VMCTL_ARENA_FINE)
        a->end = why;
    return NULL;
}

/* A new chunk. One that a single piece fills leaves the current one in use. */
static uint8_t *arena_chunk(struct vmctl_arena *a, size_t size)
{
    size_t room = size > ARENA_CHUNK / 4 ? size : ARENA_CHUNK;
    if (a->taken > a->most || room > a->most - a->taken)
        return arena_refuse(a, VMCTL_ARENA_BIG);
    struct vmctl_arena_chunk *chunk = malloc(sizeof *chunk + room);
    if (!chunk)
        return arena_refuse(a, VMCTL_ARENA_NOMEM);
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->taken += room;
    uint8_t *start = (uint8_t *)chunk->bytes;
    if (room > size) {
        a->at = start + size;
        a->left = room - size;
    }
    return start;
}

void *vmctl_arena_take(struct vmctl_arena *a, size_t size)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if ((here < a->stack ? a->stack - here : here - a->stack) > ARENA_STACK)
        return arena_refuse(a, VMCTL_ARENA_DEEP);
    if (size > PTRDIFF_MAX / 2)
        return arena_refuse(a, VMCTL_ARENA_BIG);
    size_t whole = (sizeof(uint64_t) + size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    uint8_t *start = a->at;
    if (whole <= a->left) {
        a->at += whole;
        a->left -= whole;
    } else {
        start = arena_chunk(a, whole);
        if (!start)
            return NULL;
    }
    const uint64_t head = size;
    memcpy(start, &head, sizeof head);
    return start + sizeof head;
}

size_t vmctl_arena_size(const void *piece)
{
    uint64_t head;
    memcpy(&head, (const uint8_t *)piece - sizeof head, sizeof head);
    return (size_t)head;
}
