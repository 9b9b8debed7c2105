/* Notices a fork by a page that the kernel clears in the child, which costs no system call each time. */
#include "io/maker.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAKER_PAGE = 1 }; /* the kernel gives a whole one */

void vmctl_maker_open(struct vmctl_maker *m)
{
    *m = (struct vmctl_maker){ .pid = getpid() };
    char *page = mmap(NULL, MAKER_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    if (madvise(page, MAKER_PAGE, MADV_WIPEONFORK) < 0) {
        munmap(page, MAKER_PAGE);
        return;
    }
    *page = 1;
    m->mark = page;
}

void vmctl_maker_close(struct vmctl_maker *m)
{
    if (m->mark)
        munmap((void *)(uintptr_t)m->mark, MAKER_PAGE);
    m->mark = NULL;
}

bool vmctl_maker_is_us(const struct vmctl_maker *m)
{
    return m->mark ? *m->mark : getpid() == m->pid;
}
