/* Stands before the C library (LD_PRELOAD): while the file REFUSE_WATCH is there, epoll watches no fd more (ENOSPC, as when the
 * user has used up fs.epoll.max_user_watches). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    int (*real)(int, int, int, struct epoll_event *);
    *(void **)&real = dlsym(RTLD_NEXT, "epoll_ctl");
    const char *file = getenv("REFUSE_WATCH");
    if (what == EPOLL_CTL_ADD && file && access(file, F_OK) == 0) {
        errno = ENOSPC;
        return -1;
    }
    return real(epoll, what, fd, event);
}
