/* Which process made something: after a fork the child has a copy, and what that does to the world hurts the original. */
#ifndef VMCTL_IO_MAKER_H
#define VMCTL_IO_MAKER_H

#include <stdbool.h>
#include <sys/types.h>

struct vmctl_maker {
    const volatile char *mark; /* memory that is 1 here and 0 in a child; NULL: the kernel does not offer such */
    pid_t pid;
};

void vmctl_maker_open(struct vmctl_maker *m);
void vmctl_maker_close(struct vmctl_maker *m);

/* Is this still the process that opened it? */
bool vmctl_maker_is_us(const struct vmctl_maker *m);

#endif
