/* Queues of waiters. A waiter is in at most one queue; waking removes it, and then calls it with the reason. */
#ifndef VMCTL_IO_WAIT_H
#define VMCTL_IO_WAIT_H

#include "io/list.h"

struct vmctl_waitq {
    struct vmctl_list waiters;
};

struct vmctl_waiter {
    struct vmctl_list link;
    void (*wake)(struct vmctl_waiter *w, int why); /* why: 0, or a negative error. Must only queue the waiter, not run it */
};

static inline void vmctl_waitq_init(struct vmctl_waitq *q)
{
    vmctl_list_init(&q->waiters);
}

static inline bool vmctl_waitq_busy(const struct vmctl_waitq *q)
{
    return !vmctl_list_empty(&q->waiters);
}

static inline void vmctl_waitq_add(struct vmctl_waitq *q, struct vmctl_waiter *w)
{
    vmctl_list_append(&q->waiters, &w->link);
}

/* Wakes the waiter that has waited longest; false if there is none. */
static inline bool vmctl_wake_one(struct vmctl_waitq *q, int why)
{
    if (!vmctl_waitq_busy(q))
        return false;
    struct vmctl_waiter *w = VMCTL_CONTAINER(q->waiters.next, struct vmctl_waiter, link);
    vmctl_list_remove(&w->link);
    w->wake(w, why);
    return true;
}

/* Wakes all present waiters; one that waits again meanwhile is not woken again. */
static inline void vmctl_wake_all(struct vmctl_waitq *q, int why)
{
    if (!vmctl_waitq_busy(q))
        return;
    struct vmctl_waitq now;
    now.waiters = q->waiters;
    now.waiters.next->prev = now.waiters.prev->next = &now.waiters;
    vmctl_waitq_init(q);
    while (vmctl_wake_one(&now, why))
        ;
}

#endif
