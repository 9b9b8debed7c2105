/* Keeps descriptors 0, 1 and 2 from becoming other files, when a program was started without them. */
#include "io/standard_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void vmctl_standard_fds_hold(struct vmctl_standard_hold *hold)
{
    hold->count = 0;
    for (;;) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && fd < VMCTL_STANDARD_FDS) {
            hold->fds[hold->count++] = fd;
            continue;
        }
        if (fd >= 0)
            close(fd);
        return;
    }
}

void vmctl_standard_fds_release(struct vmctl_standard_hold *hold)
{
    while (hold->count > 0)
        close(hold->fds[--hold->count]);
}

int vmctl_standard_fds_open(void)
{
    for (int fd = 0; fd < VMCTL_STANDARD_FDS; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        int got = open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY); /* the lowest that is closed: fd */
        if (got < 0)
            return -errno;
    }
    return 0;
}
