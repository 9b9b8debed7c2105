/* The Unix-socket handshake of Firecracker and Cloud Hypervisor: "CONNECT port" answered by "OK number". */
#ifndef VMCTL_WIRE_HYBRID_H
#define VMCTL_WIRE_HYBRID_H

#include <stddef.h>
#include <stdint.h>

enum { VMCTL_HYBRID_LINE_MAX = 32 }; /* LF included, in both directions */

/* A line without its LF (a CR may end it). Each returns 0 and the number, or -EPROTO. */
int vmctl_hybrid_parse_connect(const char *line, size_t len, uint32_t *port);
int vmctl_hybrid_parse_ok(const char *line, size_t len, uint32_t *number);

#endif
