/* Doubly linked rings. A node that is in no list points at itself, so that removing it twice does no harm. */
#ifndef VMCTL_IO_LIST_H
#define VMCTL_IO_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct vmctl_list {
    struct vmctl_list *prev, *next;
};

#define VMCTL_CONTAINER(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void vmctl_list_init(struct vmctl_list *n)
{
    n->prev = n->next = n;
}

static inline bool vmctl_list_empty(const struct vmctl_list *n)
{
    return n->next == n;
}

static inline void vmctl_list_append(struct vmctl_list *head, struct vmctl_list *n)
{
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}

static inline void vmctl_list_remove(struct vmctl_list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    vmctl_list_init(n);
}

#endif
