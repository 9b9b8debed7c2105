/* The port at which each address was last seen. The table is bounded: a flood of made-up addresses only makes it forget old ones. */
#ifndef VMCTL_IO_SWITCH_MACS_H
#define VMCTL_IO_SWITCH_MACS_H

#include <stdbool.h>
#include <stdint.h>

enum { VMCTL_MAC_BITS = 12, VMCTL_MAC_SLOTS = 1 << VMCTL_MAC_BITS, VMCTL_MAC_PROBE = 8 };

struct vmctl_mac_entry {
    uint64_t key;  /* VLAN and address; 0: free (no frame comes from address 0) */
    uint32_t seen; /* seconds */
    int32_t port;
};

struct vmctl_mac_table {
    uint32_t changes; /* how often an entry came, moved or went */
    uint32_t age;  /* seconds after which an entry no longer counts; 0: none ever does, and all frames are flooded */
    uint32_t used; /* entries that are not free */
    struct vmctl_mac_entry slot[VMCTL_MAC_SLOTS];
};

static inline uint64_t vmctl_mac_key(uint64_t address, unsigned vlan)
{
    return (uint64_t)vlan << 48 | address;
}

static inline bool vmctl_mac_counts(const struct vmctl_mac_table *t, const struct vmctl_mac_entry *e, uint32_t now)
{
    return t->age && now - e->seen <= t->age;
}

/* Notes that `key` was seen at `port`. True if it is new there. */
int vmctl_mac_learn(struct vmctl_mac_table *t, uint64_t key, int port, uint32_t now);

/* The port, or -1. */
int vmctl_mac_find(const struct vmctl_mac_table *t, uint64_t key, uint32_t now);

/* Forgets the addresses of a port; -1: all. */
void vmctl_mac_forget(struct vmctl_mac_table *t, int port);

#endif
