/* Identifies the process that made an object: after a fork the child has a copy, whose effects would harm the original. */
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

/* True in the process that opened it. */
bool vmctl_maker_is_us(const struct vmctl_maker *m);

#endif
