/* Filter expressions as tcpdump has them, compiled by libpcap where that is installed: it is loaded when it is first needed. */
#ifndef VMCTL_IO_PCAP_FILTER_H
#define VMCTL_IO_PCAP_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmctl_pcap_filter;

/* Compiles an expression for Ethernet frames. -ENOSYS: there is no libpcap; -EINVAL: `why` has libpcap's reason; -ENOMEM. */
int vmctl_pcap_filter_compile(const char *expression, struct vmctl_pcap_filter **out, char *why, size_t size);
bool vmctl_pcap_filter_match(const struct vmctl_pcap_filter *f, const uint8_t *frame, size_t len);
void vmctl_pcap_filter_free(struct vmctl_pcap_filter *f); /* NULL is allowed */

#endif
