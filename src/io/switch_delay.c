/* Frames that a switch holds back: copies in a heap by the time when they are due. */
#include "io/switch.h"

#include <stdlib.h>
#include <string.h>

enum { HOLD_BATCH = 64, HOLD_FIRST = 64 };

struct vmctl_held {
    double due;
    uint64_t serial; /* frames that are due at one time leave in the order in which they came */
    struct vmctl_switch_port *to;
    int from;             /* the sender's index, */
    uint64_t from_serial; /* which by then may be another port's: its serial tells */
    size_t total;
    uint8_t bytes[]; /* the length, the frame */
};

static bool held_before(const struct vmctl_held *a, const struct vmctl_held *b)
{
    return a->due < b->due || (a->due == b->due && a->serial < b->serial);
}

static void held_sift_up(struct vmctl_switch *sw, size_t at)
{
    struct vmctl_held *h = sw->held[at];
    while (at && held_before(h, sw->held[(at - 1) / 2])) {
        sw->held[at] = sw->held[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sw->held[at] = h;
}

static void held_sift_down(struct vmctl_switch *sw, size_t at)
{
    struct vmctl_held *h = sw->held[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sw->nheld)
            break;
        if (child + 1 < sw->nheld && held_before(sw->held[child + 1], sw->held[child]))
            child++;
        if (!held_before(sw->held[child], h))
            break;
        sw->held[at] = sw->held[child];
        at = child;
    }
    sw->held[at] = h;
}

static bool held_make_room(struct vmctl_switch *sw)
{
    if (sw->nheld < sw->held_size)
        return true;
    size_t size = sw->held_size ? 2 * sw->held_size : HOLD_FIRST;
    struct vmctl_held **grown = realloc(sw->held, size * sizeof *grown);
    if (!grown)
        return false;
    sw->held = grown;
    sw->held_size = size;
    return true;
}

static void hold_arm(struct vmctl_switch *sw)
{
    if (!sw->nheld)
        vmctl_timer_stop(sw->loop, &sw->release);
    else if (!sw->release.slot || sw->release.at != sw->held[0]->due)
        vmctl_timer_set(sw->loop, &sw->release, sw->held[0]->due);
}

/* True if a direction may hold another frame: within its own limit, and within the rest of the switch's memory. */
static bool held_fits(const struct vmctl_switch *sw, const struct vmctl_switch_pair *pair, uint32_t limit, size_t cost)
{
    if (limit && pair->held >= limit)
        return false;
    return pair->held_bytes + cost <= sw->held_max - sw->held_bytes;
}

/* The direction in which a frame goes; NULL: its sender is gone. */
static struct vmctl_switch_pair *held_pair(const struct vmctl_switch *sw, const struct vmctl_held *h)
{
    struct vmctl_switch_port *from = sw->port[h->from];
    return from && from->serial == h->from_serial ? &from->pair[h->to->index] : NULL;
}

void vmctl_switch_hold(struct vmctl_switch_port *from, struct vmctl_switch_port *to, const uint8_t *at, size_t total,
                       const struct vmctl_verdict *v)
{
    struct vmctl_switch *sw = to->sw;
    struct vmctl_switch_pair *pair = &from->pair[to->index];
    size_t cost = sizeof(struct vmctl_held) + total;
    struct vmctl_held *h = NULL;
    if (held_fits(sw, pair, v->limit, cost) && held_make_room(sw))
        h = malloc(cost);
    if (!h) {
        to->count.dropped_full++;
        pair->dropped++;
        return;
    }
    *h = (struct vmctl_held){
        .due = v->due, .serial = sw->held_serial++, .to = to, .from = from->index, .from_serial = from->serial, .total = total
    };
    memcpy(h->bytes, at, total);
    if (v->corrupt)
        vmctl_fault_corrupt(v->where, h->bytes + VMCTL_ETHER_HEAD, total - VMCTL_ETHER_HEAD);
    pair->held++;
    pair->held_bytes += cost;
    sw->held_bytes += cost;
    sw->held[sw->nheld++] = h;
    held_sift_up(sw, sw->nheld - 1);
    hold_arm(sw);
}

static void held_free(struct vmctl_switch *sw, struct vmctl_held *h)
{
    struct vmctl_switch_pair *pair = held_pair(sw, h);
    size_t cost = sizeof *h + h->total;
    if (pair) {
        pair->held--;
        pair->held_bytes -= cost;
    }
    sw->held_bytes -= cost;
    free(h);
}

static struct vmctl_held *held_pop(struct vmctl_switch *sw)
{
    struct vmctl_held *h = sw->held[0];
    sw->held[0] = sw->held[--sw->nheld];
    if (sw->nheld)
        held_sift_down(sw, 0);
    return h;
}

/* Drops the frames to a port. Goes through the whole heap: ports are removed rarely. */
void vmctl_switch_hold_forget(struct vmctl_switch *sw, const struct vmctl_switch_port *to)
{
    size_t kept = 0;
    for (size_t i = 0; i < sw->nheld; i++) {
        if (!to || sw->held[i]->to == to)
            held_free(sw, sw->held[i]);
        else
            sw->held[kept++] = sw->held[i];
    }
    sw->nheld = kept;
    for (size_t i = 1; i < kept; i++)
        held_sift_up(sw, i);
    hold_arm(sw);
}

/* Sends due frames in batches: the memory of a frame must stay until it is flushed. */
void vmctl_switch_on_release(struct vmctl_timer *t)
{
    struct vmctl_switch *sw = VMCTL_CONTAINER(t, struct vmctl_switch, release);
    struct vmctl_held *batch[HOLD_BATCH];
    double now = vmctl_loop_now(sw->loop);
    int n;
    do {
        n = 0;
        while (n < HOLD_BATCH && sw->nheld && sw->held[0]->due <= now) {
            batch[n] = held_pop(sw);
            vmctl_switch_put(batch[n]->to, batch[n]->from, batch[n]->bytes, batch[n]->total, 1);
            n++;
        }
        vmctl_switch_flush(sw, NULL);
        for (int i = 0; i < n; i++)
            held_free(sw, batch[i]);
    } while (n == HOLD_BATCH);
    hold_arm(sw);
}
