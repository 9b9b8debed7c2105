/* read(2) and write(2) on any kind of fd, with no SIGPIPE and no EINTR. */
#ifndef VMCTL_IO_SYSIO_H
#define VMCTL_IO_SYSIO_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/* `socket`: the fd is one. recv(2) costs less in the kernel than read(2), which counts for short messages. */
ssize_t vmctl_sys_readv(int fd, const struct iovec *iov, int n, bool socket);

/* `socket`: the fd is one. On any other fd SIGPIPE is kept from the host program by blocking it in this thread and taking
 * it back; its handler and its mask stay as they were. */
ssize_t vmctl_sys_writev(int fd, const struct iovec *iov, int n, bool socket);

/* Makes an fd that came from elsewhere non-blocking and close-on-exec. */
int vmctl_sys_prepare(int fd);

/* Runs a system call that may raise SIGPIPE between these two. */
struct vmctl_sigpipe {
    bool was_pending, was_blocked;
};
void vmctl_sigpipe_block(struct vmctl_sigpipe *g);
void vmctl_sigpipe_restore(const struct vmctl_sigpipe *g, bool raised);

#endif
