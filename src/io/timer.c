/* The timers of a loop: a binary heap, since libev does not tell when its next timer is due. */
#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>

static void heap_put(struct vmctl_loop *loop, size_t i, struct vmctl_timer *t)
{
    loop->heap[i] = t;
    t->slot = i + 1;
}

static void heap_up(struct vmctl_loop *loop, size_t i, struct vmctl_timer *t)
{
    while (i > 0 && loop->heap[(i - 1) / 2]->at > t->at) {
        heap_put(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(loop, i, t);
}

static void heap_down(struct vmctl_loop *loop, size_t i, struct vmctl_timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= loop->timers)
            break;
        if (child + 1 < loop->timers && loop->heap[child + 1]->at < loop->heap[child]->at)
            child++;
        if (loop->heap[child]->at >= t->at)
            break;
        heap_put(loop, i, loop->heap[child]);
        i = child;
    }
    heap_put(loop, i, t);
}

static int heap_grow(struct vmctl_loop *loop)
{
    if (loop->timers < loop->heap_size)
        return 0;
    size_t size = loop->heap_size ? loop->heap_size * 2 : 16;
    struct vmctl_timer **heap = realloc(loop->heap, size * sizeof *heap);
    if (!heap)
        return -ENOMEM;
    loop->heap = heap;
    loop->heap_size = size;
    return 0;
}

void vmctl_timer_stop(struct vmctl_loop *loop, struct vmctl_timer *t)
{
    if (!t->slot)
        return;
    size_t i = t->slot - 1;
    struct vmctl_timer *last = loop->heap[--loop->timers];
    t->slot = 0;
    if (last == t)
        return;
    if (i > 0 && loop->heap[(i - 1) / 2]->at > last->at)
        heap_up(loop, i, last);
    else
        heap_down(loop, i, last);
}

int vmctl_timer_set(struct vmctl_loop *loop, struct vmctl_timer *t, double at)
{
    vmctl_timer_stop(loop, t);
    int err = heap_grow(loop);
    if (err)
        return err;
    t->at = at;
    heap_up(loop, loop->timers++, t);
    return 0;
}
