/* Selects the frames that a fault hits: all conditions must hold. */
#ifndef VMCTL_IO_SWITCH_MATCH_H
#define VMCTL_IO_SWITCH_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmctl_pcap_filter;

/* All zero: every frame. */
struct vmctl_match {
    uint64_t to, from, either;  /* hardware addresses; 0: any */
    uint32_t type;              /* EtherType behind VLAN tags, plus 1 */
    uint32_t protocol;          /* of IPv4 or IPv6, plus 1 */
    uint32_t port;              /* one of the two of TCP or UDP, plus 1 */
    uint32_t flags_set, flags_clear; /* of TCP */
    struct vmctl_pcap_filter *filter; /* an expression of libpcap's; NULL: none. Owned by the owner of the match */
};

bool vmctl_match(const struct vmctl_match *m, const uint8_t *frame, size_t len);

#endif
