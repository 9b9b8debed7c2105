/* Stands before the C library (LD_PRELOAD) of a Lua script: once the script makes its first socket pair, libev is refused memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static volatile bool refusing;

void *__libc_realloc(void *block, size_t size);

static bool is_libev(const void *code)
{
    static __thread bool inside; /* dladdr may allocate */
    Dl_info info;
    if (inside)
        return false;
    inside = true;
    bool is = dladdr(code, &info) && info.dli_fname && strstr(info.dli_fname, "libev");
    inside = false;
    return is;
}

void *realloc(void *block, size_t size)
{
    if (refusing && size && is_libev(__builtin_return_address(0)))
        return NULL;
    return __libc_realloc(block, size);
}

int socketpair(int family, int type, int protocol, int fds[2])
{
    static int (*real)(int, int, int, int *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "socketpair");
    refusing = true;
    return real(family, type, protocol, fds);
}
