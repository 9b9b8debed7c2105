/* Frames that a switch delays: copies in a heap by the time when they are due. */
#include "io/switch.h"

#include <stdlib.h>
#include <string.h>

enum { DELAY_BATCH = 64, DELAY_FIRST = 64 };

struct vmctl_delayed {
    double due;
    uint64_t serial; /* frames that are due at one time leave in the order in which they came */
    struct vmctl_switch_port *to;
    int from;             /* the sender's index, */
    uint64_t from_serial; /* which by then may be another port's: its serial tells */
    size_t total;
    uint8_t bytes[]; /* the length, the frame */
};

static bool delayed_before(const struct vmctl_delayed *a, const struct vmctl_delayed *b)
{
    return a->due < b->due || (a->due == b->due && a->serial < b->serial);
}

static void delayed_sift_up(struct vmctl_switch *sw, size_t at)
{
    struct vmctl_delayed *h = sw->delayed[at];
    while (at && delayed_before(h, sw->delayed[(at - 1) / 2])) {
        sw->delayed[at] = sw->delayed[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sw->delayed[at] = h;
}

static void delayed_sift_down(struct vmctl_switch *sw, size_t at)
{
    struct vmctl_delayed *h = sw->delayed[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sw->ndelayed)
            break;
        if (child + 1 < sw->ndelayed && delayed_before(sw->delayed[child + 1], sw->delayed[child]))
            child++;
        if (!delayed_before(sw->delayed[child], h))
            break;
        sw->delayed[at] = sw->delayed[child];
        at = child;
    }
    sw->delayed[at] = h;
}

static bool delayed_make_room(struct vmctl_switch *sw)
{
    if (sw->ndelayed < sw->delayed_size)
        return true;
    size_t size = sw->delayed_size ? 2 * sw->delayed_size : DELAY_FIRST;
    struct vmctl_delayed **grown = realloc(sw->delayed, size * sizeof *grown);
    if (!grown)
        return false;
    sw->delayed = grown;
    sw->delayed_size = size;
    return true;
}

static void delay_arm(struct vmctl_switch *sw)
{
    if (!sw->ndelayed)
        vmctl_timer_stop(sw->loop, &sw->release);
    else if (!sw->release.slot || sw->release.at != sw->delayed[0]->due)
        vmctl_timer_set(sw->loop, &sw->release, sw->delayed[0]->due);
}

/* True if a direction may delay another frame: within its own limit, and within the rest of the switch's memory. */
static bool delayed_fits(const struct vmctl_switch *sw, const struct vmctl_switch_pair *pair, uint32_t limit, size_t cost)
{
    if (limit && pair->delayed >= limit)
        return false;
    return pair->delayed_bytes + cost <= sw->delayed_max - sw->delayed_bytes;
}

/* The direction in which a frame goes; NULL: its sender is gone. */
static struct vmctl_switch_pair *delayed_pair(const struct vmctl_switch *sw, const struct vmctl_delayed *h)
{
    struct vmctl_switch_port *from = sw->port[h->from];
    return from && from->serial == h->from_serial ? &from->pair[h->to->index] : NULL;
}

void vmctl_switch_delay(struct vmctl_switch_port *from, struct vmctl_switch_port *to, const uint8_t *at, size_t total,
                        const struct vmctl_verdict *v)
{
    struct vmctl_switch *sw = to->sw;
    struct vmctl_switch_pair *pair = &from->pair[to->index];
    size_t cost = sizeof(struct vmctl_delayed) + total;
    struct vmctl_delayed *h = NULL;
    if (delayed_fits(sw, pair, v->limit, cost) && delayed_make_room(sw))
        h = malloc(cost);
    if (!h) {
        to->count.dropped_full++;
        pair->dropped++;
        return;
    }
    *h = (struct vmctl_delayed){
        .due = v->due, .serial = sw->delayed_serial++, .to = to, .from = from->index, .from_serial = from->serial, .total = total
    };
    memcpy(h->bytes, at, total);
    if (v->corrupt)
        vmctl_fault_corrupt(v->where, h->bytes + VMCTL_ETHER_HEAD, total - VMCTL_ETHER_HEAD);
    pair->delayed++;
    pair->delayed_bytes += cost;
    sw->delayed_bytes += cost;
    sw->delayed[sw->ndelayed++] = h;
    delayed_sift_up(sw, sw->ndelayed - 1);
    delay_arm(sw);
}

static void delayed_free(struct vmctl_switch *sw, struct vmctl_delayed *h)
{
    struct vmctl_switch_pair *pair = delayed_pair(sw, h);
    size_t cost = sizeof *h + h->total;
    if (pair) {
        pair->delayed--;
        pair->delayed_bytes -= cost;
    }
    sw->delayed_bytes -= cost;
    free(h);
}

static struct vmctl_delayed *delayed_pop(struct vmctl_switch *sw)
{
    struct vmctl_delayed *h = sw->delayed[0];
    sw->delayed[0] = sw->delayed[--sw->ndelayed];
    if (sw->ndelayed)
        delayed_sift_down(sw, 0);
    return h;
}

/* Drops the frames to a port. Goes through the whole heap: ports are removed rarely. */
void vmctl_switch_delay_forget(struct vmctl_switch *sw, const struct vmctl_switch_port *to)
{
    size_t kept = 0;
    for (size_t i = 0; i < sw->ndelayed; i++) {
        if (!to || sw->delayed[i]->to == to)
            delayed_free(sw, sw->delayed[i]);
        else
            sw->delayed[kept++] = sw->delayed[i];
    }
    sw->ndelayed = kept;
    for (size_t i = 1; i < kept; i++)
        delayed_sift_up(sw, i);
    delay_arm(sw);
}

/* Sends due frames in batches: the memory of a frame must stay until it is flushed. */
void vmctl_switch_on_release(struct vmctl_timer *t)
{
    struct vmctl_switch *sw = VMCTL_CONTAINER(t, struct vmctl_switch, release);
    struct vmctl_delayed *batch[DELAY_BATCH];
    double now = vmctl_loop_now(sw->loop);
    int n;
    do {
        n = 0;
        while (n < DELAY_BATCH && sw->ndelayed && sw->delayed[0]->due <= now) {
            batch[n] = delayed_pop(sw);
            vmctl_switch_put(batch[n]->to, batch[n]->from, batch[n]->bytes, batch[n]->total, 1);
            n++;
        }
        vmctl_switch_flush(sw, NULL);
        for (int i = 0; i < n; i++)
            delayed_free(sw, batch[i]);
    } while (n == DELAY_BATCH);
    delay_arm(sw);
}
