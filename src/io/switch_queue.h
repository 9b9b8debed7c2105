/* The frames that wait for a port: a queue for each sender, served in turn (deficit round robin), so that a sender has only its own
 * frames before it. */
#ifndef VMCTL_IO_SWITCH_QUEUE_H
#define VMCTL_IO_SWITCH_QUEUE_H

#include "io/list.h"
#include "wire/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vmctl_switch_port;

/* The frames of one sender that wait for one port. The port owns it. */
struct vmctl_switch_share {
    struct vmctl_list turn;     /* in the port's `turns` while it has frames */
    struct vmctl_list hold;     /* in the switch's `holds` while its sender is held back for it */
    struct vmctl_switch_port *to;
    int from;                   /* the sender's index */
    struct vmctl_buf q;
    size_t half;                /* bytes of the first frame that are left, if a part of it is sent */
    ssize_t deficit;            /* bytes that it may still send in its turn */
    bool granted;               /* its turn has begun */
    /* switch_hold.c */
    bool holds;                 /* its sender is not read */
    size_t low;                 /* while it holds: bytes at which its sender goes on */
    bool losing;                /* its sender was held back for long enough: frames that do not fit are dropped */
    double since;               /* while it holds: the time when that began */
    double budget, budget_at;   /* seconds for which it may hold back a sender that sends to others as well, at that time */
    uint64_t lost_at;           /* the port's `sent` when it began to lose */
};

/* Keeps a copy of frames (as for vmctl_switch_put) that follow each other, for a port. Without room, frames of the sender that has most
 * in the queue are dropped and counted. */
void vmctl_switch_enqueue_run(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t total);

/* Keeps the rest of a partly sent frame, before all others. The queue is empty. -ENOMEM. */
int vmctl_switch_enqueue_rest(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t len);

/* Counts bytes that have left a share; takes a share without frames out of the turns. */
void vmctl_switch_queue_take(struct vmctl_switch_share *s, size_t len);
void vmctl_switch_share_leave(struct vmctl_switch_share *s);

/* switch_drain.c. Sends the queue, as far as the kernel takes it. 0, or the error that ends the connection. */
int vmctl_switch_drain(struct vmctl_switch_port *to);

/* Drops everything, and lets the senders go on. */
void vmctl_switch_queue_clear(struct vmctl_switch_port *to);

/* switch_hold.c. Holds the sender back if it has too many bytes in the port's queue. */
void vmctl_switch_consider(struct vmctl_switch_port *from, struct vmctl_switch_port *to);
/* The share has become shorter, or is to be held no more. */
void vmctl_switch_release(struct vmctl_switch_share *s);
void vmctl_switch_progress(struct vmctl_switch_port *to);
/* The latest time when its sender goes on. */
double vmctl_switch_hold_until(const struct vmctl_switch_share *s, const struct vmctl_switch_port *from);
void vmctl_switch_lose(struct vmctl_switch_share *s);

#endif
