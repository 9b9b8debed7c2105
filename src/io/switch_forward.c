/* Forwards each frame to its ports. Frames that follow each other in memory and have the same destination are handled as one run. */
#include "io/switch.h"

static void deliver(struct vmctl_switch_port *from, struct vmctl_switch_port *to, const uint8_t *at, size_t total,
                    const struct vmctl_verdict *v)
{
    struct vmctl_switch_pair *pair = &from->pair[to->index];
    if (to->index == from->sw->mirror)
        return; /* it has its copy */
    if (from->group != to->group) {
        from->count.dropped_cut++;
        pair->dropped++;
        vmctl_switch_note(from->sw, to, "dropped (partition)");
    } else if (total - VMCTL_ETHER_HEAD > to->longest) {
        to->count.dropped_long++;
        pair->dropped++;
        vmctl_switch_note(from->sw, to, "dropped (too long)");
    } else if (v || pair->fault || to->to) {
        vmctl_switch_deliver_faulty(from, to, at, total, v ? *v : (struct vmctl_verdict){ .due = from->sw->now });
    } else {
        pair->frames++;
        pair->bytes += total - VMCTL_ETHER_HEAD;
        vmctl_switch_put(to, from->index, at, total, 1);
    }
}

/* Delivers a run to one port: as a whole, if no fault treats single frames of it. */
static void deliver_run(const struct vmctl_switch_run *run, struct vmctl_switch_port *to)
{
    struct vmctl_switch_port *from = run->from;
    struct vmctl_switch_pair *pair = &from->pair[to->index];
    if (from->group == to->group && run->longest <= to->longest && !pair->fault && !to->to && to->index != from->sw->mirror) {
        pair->frames += run->frames;
        pair->bytes += run->total - run->frames * VMCTL_ETHER_HEAD;
        vmctl_switch_put(to, from->index, run->at, run->total, run->frames);
        return;
    }
    for (size_t at = 0; at < run->total;) {
        size_t total = VMCTL_ETHER_HEAD + vmctl_ether_length(run->at + at);
        deliver(from, to, run->at + at, total, NULL);
        at += total;
    }
}

/* Notes the receiver of a frame, for vmctl_switch_consider: a sender that sends to one port alone may wait for it. */
static void note_receiver(struct vmctl_switch_port *from, int index, size_t len)
{
    from->streak = index == from->last_to ? from->streak + len : 0;
    from->last_to = index;
}

/* The only receiver of a port's flooded frames; -1: none, or several. */
static int only_receiver(const struct vmctl_switch_port *from)
{
    const struct vmctl_switch *sw = from->sw;
    int only = -1;
    for (int i = 0; i < sw->ports; i++) {
        const struct vmctl_switch_port *to = sw->port[i];
        if (!to || to == from || to->fd < 0)
            continue;
        if (only >= 0)
            return -1;
        only = i;
    }
    return only;
}

static void note_flood(struct vmctl_switch_port *from, size_t total, size_t frames)
{
    int only = only_receiver(from);
    from->count.flooded += frames;
    if (only >= 0)
        note_receiver(from, only, total);
}

void vmctl_switch_forward_end(struct vmctl_switch *sw)
{
    struct vmctl_switch_run run = sw->run;
    sw->run.frames = 0;
    if (!run.frames)
        return;
    if (run.to >= 0) {
        note_receiver(run.from, run.to, run.total);
        deliver_run(&run, sw->port[run.to]);
        return;
    }
    note_flood(run.from, run.total, run.frames);
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *to = sw->port[i];
        if (to && to != run.from && to->fd >= 0)
            deliver_run(&run, to);
    }
}

static void run_add(struct vmctl_switch_port *from, int to, const uint8_t *at, size_t len)
{
    struct vmctl_switch_run *run = &from->sw->run;
    if (!run->frames || run->to != to || run->from != from || run->at + run->total != at) {
        vmctl_switch_forward_end(from->sw);
        *run = (struct vmctl_switch_run){ .from = from, .to = to, .at = at };
    }
    run->total += VMCTL_ETHER_HEAD + len;
    run->frames++;
    run->longest = len > run->longest ? len : run->longest;
}

/* Delivers a frame that its sender's own fault has judged. */
static void deliver_judged(struct vmctl_switch_port *from, int index, const uint8_t *at, size_t total, const struct vmctl_verdict *v)
{
    struct vmctl_switch *sw = from->sw;
    if (index >= 0) {
        note_receiver(from, index, total);
        deliver(from, sw->port[index], at, total, v);
        return;
    }
    note_flood(from, total, 1);
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *to = sw->port[i];
        if (to && to != from && to->fd >= 0)
            deliver(from, to, at, total, v);
    }
}

/* Learns where the sender of a frame is, and finds the port of its receiver (-1: flood). Both are known already if they are those of
 * the port's last frame, and the table has not changed. */
static int lookup(struct vmctl_switch_port *from, uint64_t source, uint64_t to, unsigned vlan)
{
    struct vmctl_mac_table *macs = &from->sw->macs;
    struct vmctl_switch_recent *last = &from->recent;
    uint32_t seconds = (uint32_t)from->sw->now;
    uint64_t source_key = vmctl_mac_key(source, vlan), key = vmctl_mac_key(to, vlan);
    bool fresh = last->seconds == seconds && last->changes == macs->changes;
    if (!fresh || last->source != source_key) {
        vmctl_mac_learn(macs, source_key, from->index, seconds);
        fresh = last->seconds == seconds && last->changes == macs->changes;
    }
    if (!fresh) /* the table has no key 0 */
        *last = (struct vmctl_switch_recent){ .port = -1, .seconds = seconds, .changes = macs->changes };
    last->source = source_key;
    if (vmctl_ether_is_group(to))
        return -1;
    if (last->to != key) {
        last->to = key;
        last->port = vmctl_mac_find(macs, key, seconds);
    }
    return last->port;
}

/* Forwards a frame; `v`: the verdict of its sender's own faults (NULL: there are none). */
static void forward_judged(struct vmctl_switch_port *from, const uint8_t *at, size_t len, const struct vmctl_verdict *v)
{
    const uint8_t *frame = at + VMCTL_ETHER_HEAD;
    uint64_t to = vmctl_ether_frame_address(frame), source = vmctl_ether_frame_address(frame + 6);
    if (vmctl_ether_is_group(source) || vmctl_ether_is_of_link(to)) {
        from->count.dropped_link++;
        vmctl_switch_note(from->sw, NULL, "dropped (of its link alone)");
        return;
    }
    int index = lookup(from, source, to, vmctl_ether_vlan(frame, len));
    if (index == from->index)
        return; /* it is on its own wire already */
    if (v)
        deliver_judged(from, index, at, VMCTL_ETHER_HEAD + len, v);
    else
        run_add(from, index, at, len);
}

static void tell_watchers(const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    struct vmctl_switch *sw = from->sw;
    if (sw->noting) /* the note tells what happens to this frame */
        vmctl_switch_forward_end(sw);
    for (struct vmctl_switch_watcher *w = sw->watchers; w; w = w->next)
        w->saw(w, from, frame, len);
}

/* Tells if a watcher takes the frame out of the switch. */
static bool is_taken(const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    struct vmctl_switch *sw = from->sw;
    for (struct vmctl_switch_watcher *w = sw->watchers; w; w = w->next) {
        if (w->take && w->take(w, from, frame, len)) {
            vmctl_switch_note(sw, NULL, "taken");
            return true;
        }
    }
    return false;
}

void vmctl_switch_forward_taken(struct vmctl_switch_port *from, const uint8_t *at, size_t len)
{
    struct vmctl_verdict v = { .due = from->sw->now };
    from->sw->note_len = 0;
    if (!from->from)
        forward_judged(from, at, len, NULL);
    else if (vmctl_switch_judge(from, NULL, from->from, at + VMCTL_ETHER_HEAD, len, &v))
        forward_judged(from, at, len, &v);
}

void vmctl_switch_forward(struct vmctl_switch_port *from, const uint8_t *at, size_t len)
{
    struct vmctl_switch *sw = from->sw;
    from->count.frames_in++;
    from->count.bytes_in += len;
    sw->note_len = 0;
    if (sw->mirror >= 0 && sw->mirror != from->index && len <= sw->port[sw->mirror]->longest)
        vmctl_switch_put(sw->port[sw->mirror], from->index, at, VMCTL_ETHER_HEAD + len, 1);
    if (!sw->taking || !is_taken(from, at + VMCTL_ETHER_HEAD, len))
        vmctl_switch_forward_taken(from, at, len);
    if (sw->watchers)
        tell_watchers(from, at + VMCTL_ETHER_HEAD, len);
}
