/* Socket addresses, from numbers and paths to sockaddr and to text. */
#include "io/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADDR_PATH_AT = offsetof(struct sockaddr_un, sun_path) };

_Static_assert(sizeof(struct sockaddr_vm) == 16, "the kernel refuses any other length");

int vmctl_addr_unix(struct vmctl_addr *a, const char *path, size_t len)
{
    if (len == 0)
        return -EINVAL;
    bool abstract = path[0] == '@' || path[0] == '\0';
    if (abstract ? len == 1 : memchr(path, '\0', len) != NULL)
        return -EINVAL;
    size_t size = abstract ? len : len + 1; /* only a path ends in a NUL: in an abstract name it would be part of it */
    if (size > sizeof a->u.un.sun_path)
        return -ENAMETOOLONG;
    memset(a, 0, sizeof *a);
    a->u.un.sun_family = AF_UNIX;
    memcpy(a->u.un.sun_path, path, len);
    if (abstract)
        a->u.un.sun_path[0] = '\0';
    a->len = (socklen_t)(ADDR_PATH_AT + size);
    return 0;
}

/* A numeric scope is taken as it is, also if no such interface exists yet; a named interface must exist. */
static int addr_scope(const char *scope, uint32_t *out)
{
    if (scope[strspn(scope, "0123456789")] == '\0') {
        errno = 0;
        unsigned long number = strtoul(scope, NULL, 10);
        if (errno || number > UINT32_MAX)
            return -ENODEV;
        *out = (uint32_t)number;
        return 0;
    }
    unsigned index = if_nametoindex(scope);
    if (index == 0)
        return -ENODEV;
    *out = index;
    return 0;
}

static int addr_inet6(struct vmctl_addr *a, const char *ip, uint16_t port)
{
    char bare[INET6_ADDRSTRLEN];
    struct in6_addr in6;
    uint32_t scope = 0;
    size_t len = strcspn(ip, "%");
    if (len >= sizeof bare)
        return -EINVAL;
    memcpy(bare, ip, len);
    bare[len] = '\0';
    if (inet_pton(AF_INET6, bare, &in6) != 1)
        return -EINVAL;
    if (ip[len] == '%') {
        if (ip[len + 1] == '\0')
            return -EINVAL;
        int err = addr_scope(ip + len + 1, &scope);
        if (err)
            return err;
    }
    memset(a, 0, sizeof *a);
    a->u.in6 = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6, .sin6_scope_id = scope};
    a->len = sizeof a->u.in6;
    return 0;
}

int vmctl_addr_inet(struct vmctl_addr *a, const char *ip, uint16_t port)
{
    struct in_addr in;
    if (inet_pton(AF_INET, ip, &in) != 1)
        return addr_inet6(a, ip, port);
    memset(a, 0, sizeof *a);
    a->u.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = in};
    a->len = sizeof a->u.in;
    return 0;
}

void vmctl_addr_vsock(struct vmctl_addr *a, uint32_t cid, uint32_t port)
{
    memset(a, 0, sizeof *a);
    a->u.vm.svm_family = AF_VSOCK;
    a->u.vm.svm_cid = cid;
    a->u.vm.svm_port = port;
    a->len = sizeof a->u.vm;
}

/* A peer chooses the name it is bound to, and names end in logs and terminals. Besides ASCII's control bytes
 * this hides the C1 controls in UTF-8 (C2 80 to C2 9F), which terminals obey as well. */
static size_t addr_put_name(char *out, const char *name, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        unsigned char next = i + 1 < len ? (unsigned char)name[i + 1] : 0;
        bool c1 = c == 0xc2 && next >= 0x80 && next <= 0x9f;
        out[n++] = c < 0x20 || c == 0x7f || c1 ? '?' : name[i];
        if (c1)
            i++;
    }
    out[n] = '\0';
    return n;
}

static size_t addr_format_unix(const struct vmctl_addr *a, char *out)
{
    const char *name = a->u.un.sun_path;
    size_t len = a->len > ADDR_PATH_AT ? a->len - ADDR_PATH_AT : 0;
    if (len > sizeof a->u.un.sun_path)
        len = sizeof a->u.un.sun_path; /* the kernel counts a NUL past the end of a path of 108 bytes */
    const char *prefix = "unix:";
    if (len > 0 && name[0] == '\0') {
        prefix = "unix:@";
        name++;
        len--;
    } else {
        len = strnlen(name, len);
        if (len > 0 && name[0] == '@')
            prefix = "unix:./"; /* a file of that name must not look abstract */
    }
    size_t n = strlen(prefix);
    memcpy(out, prefix, n);
    return n + addr_put_name(out + n, name, len);
}

static size_t addr_format_inet6(const struct sockaddr_in6 *in6, char *out)
{
    char ip[INET6_ADDRSTRLEN] = "", scope[16] = "";
    inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
    if (in6->sin6_scope_id != 0)
        snprintf(scope, sizeof scope, "%%%u", in6->sin6_scope_id);
    return (size_t)snprintf(out, VMCTL_ADDR_TEXT, "tcp:[%s%s]:%u", ip, scope, ntohs(in6->sin6_port));
}

size_t vmctl_addr_format(const struct vmctl_addr *a, char out[VMCTL_ADDR_TEXT])
{
    char ip[INET_ADDRSTRLEN] = "";
    switch (a->u.sa.sa_family) {
    case AF_UNIX:
        return addr_format_unix(a, out);
    case AF_INET:
        inet_ntop(AF_INET, &a->u.in.sin_addr, ip, sizeof ip);
        return (size_t)snprintf(out, VMCTL_ADDR_TEXT, "tcp:%s:%u", ip, ntohs(a->u.in.sin_port));
    case AF_INET6:
        return addr_format_inet6(&a->u.in6, out);
    case AF_VSOCK:
        if (a->u.vm.svm_cid == VMADDR_CID_ANY)
            return (size_t)snprintf(out, VMCTL_ADDR_TEXT, "vsock:any:%u", a->u.vm.svm_port);
        return (size_t)snprintf(out, VMCTL_ADDR_TEXT, "vsock:%u:%u", a->u.vm.svm_cid, a->u.vm.svm_port);
    default:
        return (size_t)snprintf(out, VMCTL_ADDR_TEXT, "family:%u", (unsigned)a->u.sa.sa_family);
    }
}
