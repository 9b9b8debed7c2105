/* The switch's table of addresses: a hash of fixed size that replaces its oldest entries. */
#include "io/switch_macs.h"

static unsigned mac_hash(uint64_t key)
{
    return (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - VMCTL_MAC_BITS));
}

/* The entry of `key`, or else the one that it replaces: a free one, else the one not seen for longest. */
static unsigned mac_place(const struct vmctl_mac_table *t, uint64_t key)
{
    unsigned first = mac_hash(key), best = first;
    for (unsigned i = 0; i < VMCTL_MAC_PROBE; i++) {
        unsigned at = (first + i) % VMCTL_MAC_SLOTS;
        const struct vmctl_mac_entry *e = &t->slot[at];
        if (e->key == key)
            return at;
        const struct vmctl_mac_entry *b = &t->slot[best];
        if (b->key && (!e->key || e->seen < b->seen))
            best = at;
    }
    return best;
}

int vmctl_mac_learn(struct vmctl_mac_table *t, uint64_t key, int port, uint32_t now)
{
    if (!key)
        return 0;
    struct vmctl_mac_entry *e = &t->slot[mac_place(t, key)];
    int is_new = e->key != key || e->port != port;
    t->used += !e->key;
    e->key = key;
    e->port = port;
    e->seen = now;
    t->changes += (uint32_t)is_new;
    return is_new;
}

int vmctl_mac_find(const struct vmctl_mac_table *t, uint64_t key, uint32_t now)
{
    unsigned first = mac_hash(key);
    for (unsigned i = 0; i < VMCTL_MAC_PROBE; i++) {
        const struct vmctl_mac_entry *e = &t->slot[(first + i) % VMCTL_MAC_SLOTS];
        if (key && e->key == key)
            return vmctl_mac_counts(t, e, now) ? e->port : -1;
    }
    return -1;
}

void vmctl_mac_forget(struct vmctl_mac_table *t, int port)
{
    t->changes++;
    uint32_t left = t->used;
    for (struct vmctl_mac_entry *e = t->slot; left; e++) {
        if (!e->key)
            continue;
        left--;
        if (port >= 0 && e->port != port)
            continue;
        *e = (struct vmctl_mac_entry){ 0 };
        t->used--;
    }
}
