/* The queue of a port: each sender's share of it, and the choice of frames to drop when it is full. */
#include "io/switch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_KEEP = 256 * 1024 }; /* an empty share keeps that much memory */

static struct vmctl_switch_share *share_of(struct vmctl_switch_port *to, int from)
{
    struct vmctl_switch_share *s = to->share[from];
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    vmctl_list_init(&s->turn);
    vmctl_list_init(&s->hold);
    vmctl_buf_init(&s->q, SIZE_MAX / 2); /* bounded by the port's limit */
    s->to = to;
    s->from = from;
    s->budget = VMCTL_SWITCH_BUDGET;
    to->share[from] = s;
    return s;
}

/* The limit of a port's queue: its own, and no more than the rest of the switch's memory allows. So a single port may have all of its
 * limit, and many full ones leave room for another. */
static size_t queue_limit(const struct vmctl_switch_port *to)
{
    size_t left = to->sw->queued < to->sw->queued_max ? to->sw->queued_max - to->sw->queued : 0;
    return to->queue_max < left ? to->queue_max : left;
}

static void queue_add(struct vmctl_switch_share *s, size_t len)
{
    struct vmctl_switch_port *to = s->to;
    to->queued += len;
    to->sw->queued += len;
    if (!vmctl_list_empty(&s->turn))
        return;
    if (vmctl_list_empty(&to->turns)) {
        vmctl_switch_progress(to);
        vmctl_io_start(to->sw->loop, &to->wio);
    }
    vmctl_list_append(&to->turns, &s->turn);
    to->senders++;
}

void vmctl_switch_queue_take(struct vmctl_switch_share *s, size_t len)
{
    s->to->queued -= len;
    s->to->sw->queued -= len;
}

void vmctl_switch_share_leave(struct vmctl_switch_share *s)
{
    if (vmctl_list_empty(&s->turn))
        return;
    vmctl_list_remove(&s->turn);
    s->to->senders--;
    s->deficit = 0;
    s->granted = false;
    if (s->q.cap > QUEUE_KEEP)
        vmctl_buf_free(&s->q);
}

static void count_dropped(struct vmctl_switch_port *to, int from, size_t total)
{
    struct vmctl_switch_port *sender = to->sw->port[from];
    to->count.dropped_full++;
    to->count.frames_out--;
    to->count.bytes_out -= total - VMCTL_ETHER_HEAD;
    if (sender)
        sender->pair[to->index].dropped++;
}

static struct vmctl_switch_share *longest_share(const struct vmctl_switch_port *to)
{
    struct vmctl_switch_share *most = NULL;
    for (struct vmctl_list *n = to->turns.next; n != &to->turns; n = n->next) {
        struct vmctl_switch_share *s = VMCTL_CONTAINER(n, struct vmctl_switch_share, turn);
        if (!most || vmctl_buf_len(&s->q) > vmctl_buf_len(&most->q))
            most = s;
    }
    return most;
}

/* Drops the first whole frame of a share; the rest of a partly sent frame moves behind it. Returns the number of bytes. */
static size_t drop_first(struct vmctl_switch_share *s)
{
    uint8_t *head = vmctl_buf_head(&s->q);
    if (vmctl_buf_len(&s->q) <= s->half)
        return 0;
    size_t total = VMCTL_ETHER_HEAD + vmctl_ether_length(head + s->half);
    memmove(head + total, head, s->half);
    vmctl_buf_consume(&s->q, total);
    vmctl_switch_queue_take(s, total);
    count_dropped(s->to, s->from, total);
    if (!vmctl_buf_len(&s->q))
        vmctl_switch_share_leave(s);
    return total;
}

/* Makes room for a frame by dropping frames of the sender that has most. False: that is its own sender. */
static bool make_room(struct vmctl_switch_port *to, const struct vmctl_switch_share *s, size_t total)
{
    if (to->queued + total <= queue_limit(to))
        return true;
    for (size_t freed = 0; freed < total;) {
        struct vmctl_switch_share *most = longest_share(to);
        if (!most || most == s || vmctl_buf_len(&most->q) < vmctl_buf_len(&s->q) + total)
            return false;
        size_t gave = drop_first(most);
        if (!gave)
            return false;
        freed += gave;
    }
    return true;
}

static void queue_frame(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t total)
{
    struct vmctl_switch_share *s = share_of(to, from);
    if (!s || !make_room(to, s, total) || vmctl_buf_append(&s->q, at, total) != 0)
        count_dropped(to, from, total);
    else
        queue_add(s, total);
}

void vmctl_switch_enqueue_run(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t total)
{
    struct vmctl_switch_share *s = share_of(to, from);
    if (s && to->queued + total <= queue_limit(to) && vmctl_buf_append(&s->q, at, total) == 0) {
        queue_add(s, total);
        return;
    }
    for (size_t pos = 0; pos < total;) {
        size_t size = VMCTL_ETHER_HEAD + vmctl_ether_length(at + pos);
        queue_frame(to, from, at + pos, size);
        pos += size;
    }
}

int vmctl_switch_enqueue_rest(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t len)
{
    struct vmctl_switch_share *s = share_of(to, from);
    if (!s || vmctl_buf_append(&s->q, at, len) != 0)
        return -ENOMEM;
    s->half = len;
    queue_add(s, len);
    return 0;
}

void vmctl_switch_queue_clear(struct vmctl_switch_port *to)
{
    for (int i = 0; i < VMCTL_SWITCH_PORTS; i++) {
        struct vmctl_switch_share *s = to->share[i];
        if (!s)
            continue;
        to->share[i] = NULL;
        vmctl_switch_release(s);
        vmctl_switch_queue_take(s, vmctl_buf_len(&s->q));
        vmctl_buf_free(&s->q);
        free(s);
    }
    vmctl_list_init(&to->turns);
    to->senders = 0;
}
