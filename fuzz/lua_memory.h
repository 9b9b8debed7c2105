/* Memory for a Lua state of a fuzz target: blocks of fixed classes out of one piece, which costs a fraction of a sanitizer's, and
 * counts what is in use. Nothing goes back to the system. */
#ifndef VMCTL_FUZZ_LUA_MEMORY_H
#define VMCTL_FUZZ_LUA_MEMORY_H

#include "fuzz.h"

#include <sys/mman.h>

enum { MEMORY_SMALL = 1024, MEMORY_STEP = 16, MEMORY_CLASSES = MEMORY_SMALL / MEMORY_STEP + 48 };

static const size_t memory_all = (size_t)1 << 30;

struct fuzz_memory {
    char *free_at, *end;
    void *unused[MEMORY_CLASSES]; /* a list for each class, linked through the blocks */
    size_t used, peak;            /* bytes in blocks that are in use */
};

static inline size_t memory_class(size_t size, size_t *block)
{
    if (size <= MEMORY_SMALL) {
        size_t n = (size + MEMORY_STEP - 1) / MEMORY_STEP;
        *block = n * MEMORY_STEP;
        return n;
    }
    size_t n = MEMORY_SMALL / MEMORY_STEP + 1;
    for (*block = (size_t)MEMORY_SMALL * 2; *block < size; *block *= 2)
        n++;
    return n;
}

static inline void memory_give(struct fuzz_memory *m, void *at, size_t size)
{
    size_t block, class = memory_class(size, &block);
    *(void **)at = m->unused[class];
    m->unused[class] = at;
    m->used -= block;
}

static inline void *memory_take(struct fuzz_memory *m, size_t size)
{
    size_t block, class = memory_class(size, &block);
    void *at = m->unused[class];
    if (at) {
        m->unused[class] = *(void **)at;
    } else {
        if ((size_t)(m->end - m->free_at) < block)
            return NULL;
        at = m->free_at;
        m->free_at += block;
    }
    m->used += block;
    if (m->used > m->peak)
        m->peak = m->used;
    return at;
}

/* A lua_Alloc. */
static inline void *fuzz_memory_alloc(void *data, void *old, size_t old_size, size_t size)
{
    struct fuzz_memory *m = data;
    size_t before, after;
    if (size == 0) {
        if (old && old_size)
            memory_give(m, old, old_size);
        return NULL;
    }
    if (!old || !old_size)
        return memory_take(m, size);
    if (memory_class(old_size, &before) == memory_class(size, &after))
        return old;
    void *at = memory_take(m, size);
    if (!at)
        return NULL;
    memcpy(at, old, old_size < size ? old_size : size);
    memory_give(m, old, old_size);
    return at;
}

static inline void fuzz_memory_init(struct fuzz_memory *m)
{
    void *all = mmap(NULL, memory_all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(all != MAP_FAILED);
    *m = (struct fuzz_memory){ .free_at = all, .end = (char *)all + memory_all };
}

#endif
