/* The faults of a switch: sets them, and applies them to frames. */
#include "io/switch.h"

#include "io/pcap_filter.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A fault draws random numbers by the switch's seed and its position. So the n-th frame from one port to another is treated alike in
 * every run, in whatever order the frames of several ports come. */
enum fault_place { FAULT_FROM = VMCTL_SWITCH_PORTS, FAULT_TO }; /* beside the index of the other port, of a pair's */

static void fault_seed(const struct vmctl_switch_port *p, int place, struct vmctl_fault *f)
{
    uint64_t number = (uint64_t)p->index << 16 | (uint64_t)place;
    vmctl_random_seed(&f->random, p->sw->seed ^ (number + 1) * UINT64_C(0xd1342543de82ef95));
}

void vmctl_switch_fault_drop(struct vmctl_fault *f)
{
    if (f)
        vmctl_pcap_filter_free(f->only.filter);
    free(f);
}

static int fault_set(const struct vmctl_switch_port *p, int place, struct vmctl_fault **slot, const struct vmctl_fault *f)
{
    if (!f) {
        vmctl_switch_fault_drop(*slot);
        *slot = NULL;
        return 0;
    }
    struct vmctl_fault next = *f;
    if (*slot) { /* delayed frames keep their order */
        next.busy = (*slot)->busy;
        next.latest = (*slot)->latest;
        next.random = (*slot)->random;
        next.slot_at = (*slot)->slot_at;
        vmctl_pcap_filter_free((*slot)->only.filter);
    } else {
        *slot = malloc(sizeof **slot);
        if (!*slot)
            return -ENOMEM;
        fault_seed(p, place, &next);
    }
    **slot = next;
    return 0;
}

int vmctl_switch_fault_from(struct vmctl_switch_port *p, const struct vmctl_fault *f)
{
    return fault_set(p, FAULT_FROM, &p->from, f);
}

int vmctl_switch_fault_to(struct vmctl_switch_port *p, const struct vmctl_fault *f)
{
    return fault_set(p, FAULT_TO, &p->to, f);
}

int vmctl_switch_fault_pair(struct vmctl_switch_port *from, const struct vmctl_switch_port *to, const struct vmctl_fault *f)
{
    return fault_set(from, to->index, &from->pair[to->index].fault, f);
}

void vmctl_switch_seed(struct vmctl_switch *sw, uint64_t seed)
{
    sw->seed = seed;
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *p = sw->port[i];
        if (p && p->from)
            fault_seed(p, FAULT_FROM, p->from);
        if (p && p->to)
            fault_seed(p, FAULT_TO, p->to);
        for (int j = 0; p && j < sw->ports; j++) {
            if (p->pair[j].fault)
                fault_seed(p, j, p->pair[j].fault);
        }
    }
}

void vmctl_switch_note(struct vmctl_switch *sw, const struct vmctl_switch_port *to, const char *format, ...)
{
    char text[128];
    if (!sw->noting)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t room = sizeof sw->note - sw->note_len;
    int n = snprintf(sw->note + sw->note_len, room, "%s%s%s%s", sw->note_len ? "; " : "", to ? to->name : "", to ? ": " : "", text);
    if (n > 0 && (size_t)n < room) /* else the note is full */
        sw->note_len += (size_t)n;
}

static void count_fate(struct vmctl_switch_port *from, const struct vmctl_switch_port *to, enum vmctl_fate fate)
{
    uint64_t *count = fate == VMCTL_FATE_CUT    ? &from->count.dropped_cut
                      : fate == VMCTL_FATE_LOST ? &from->count.dropped_loss
                                                : &from->count.dropped_rate;
    ++*count;
    vmctl_switch_note(from->sw, to, "dropped (%s)",
                      fate == VMCTL_FATE_CUT ? "cut" : fate == VMCTL_FATE_LOST ? "loss" : "rate");
}

bool vmctl_switch_judge(struct vmctl_switch_port *from, const struct vmctl_switch_port *to, struct vmctl_fault *f,
                        const uint8_t *frame, size_t len, struct vmctl_verdict *v)
{
    if (!f)
        return true;
    enum vmctl_fate fate = vmctl_fault_judge(f, frame, len, v);
    if (fate == VMCTL_FATE_PASS)
        return true;
    count_fate(from, to, fate);
    return false;
}

static void note_verdict(struct vmctl_switch *sw, const struct vmctl_switch_port *to, const struct vmctl_verdict *v)
{
    if (v->due > sw->now)
        vmctl_switch_note(sw, to, "delayed by %.6f s", v->due - sw->now);
    if (v->copies)
        vmctl_switch_note(sw, to, "duplicated");
    if (v->corrupt)
        vmctl_switch_note(sw, to, "corrupted");
}

/* Sends a corrupted frame at once: delayed, it would be overtaken. */
static void put_corrupted(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t total, uint64_t where)
{
    uint8_t *copy = malloc(total);
    if (!copy) {
        to->count.dropped_full++;
        return;
    }
    memcpy(copy, at, total);
    vmctl_fault_corrupt(where, copy + VMCTL_ETHER_HEAD, total - VMCTL_ETHER_HEAD);
    vmctl_switch_put(to, from, copy, total, 1);
    vmctl_switch_send(to);
    free(copy);
}

void vmctl_switch_deliver_faulty(struct vmctl_switch_port *from, struct vmctl_switch_port *to, const uint8_t *at, size_t total,
                                 struct vmctl_verdict v)
{
    struct vmctl_switch_pair *pair = &from->pair[to->index];
    size_t len = total - VMCTL_ETHER_HEAD;
    const uint8_t *frame = at + VMCTL_ETHER_HEAD;
    if (!vmctl_switch_judge(from, to, pair->fault, frame, len, &v) || !vmctl_switch_judge(from, to, to->to, frame, len, &v)) {
        pair->dropped++;
        return;
    }
    if (from->sw->noting)
        note_verdict(from->sw, to, &v);
    from->count.duplicated += v.copies;
    from->count.corrupted += v.corrupt;
    from->count.delayed += v.due > from->sw->now;
    for (unsigned i = 0; i <= v.copies; i++) {
        pair->frames++;
        pair->bytes += len;
        if (v.due > from->sw->now)
            vmctl_switch_delay(from, to, at, total, &v);
        else if (v.corrupt)
            put_corrupted(to, from->index, at, total, v.where);
        else
            vmctl_switch_put(to, from->index, at, total, 1);
    }
}
