/* Socket addresses of the families that we speak, and their text. */
#ifndef VMCTL_IO_ADDR_H
#define VMCTL_IO_ADDR_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

enum { VMCTL_ADDR_TEXT = 160 }; /* enough for every text of an address, NUL included */

struct vmctl_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } u;
};

/* `path` may hold NULs only as an abstract name, given with '@' (or NUL) first; a file whose name starts with '@' is given
 * as "./@NAME". -ENAMETOOLONG, -EINVAL when empty. */
int vmctl_addr_unix(struct vmctl_addr *a, const char *path, size_t len);

/* A numeric address of either version (IPv6 with an optional %scope). -EINVAL if it is a name, -ENODEV if the scope names
 * no interface. */
int vmctl_addr_inet(struct vmctl_addr *a, const char *ip, uint16_t port);

void vmctl_addr_vsock(struct vmctl_addr *a, uint32_t cid, uint32_t port);

/* "tcp:HOST:PORT" (IPv6 in brackets), "unix:PATH" ("unix:@NAME" when abstract, "unix:" unnamed), "vsock:CID:PORT".
 * Control bytes of a path are shown as '?', the scope of an IPv6 address as a number. Returns the length. */
size_t vmctl_addr_format(const struct vmctl_addr *a, char out[VMCTL_ADDR_TEXT]);

#endif
