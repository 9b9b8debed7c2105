/* This machine's means to run guests: KVM, and AF_VSOCK's host side. */
#ifndef VMCTL_IO_HYPERVISOR_H
#define VMCTL_IO_HYPERVISOR_H

#include <stdint.h>

/* Makes and drops a virtual machine of KVM's at `path`. On failure the result is a negative errno, and *out_step the step: "open",
 * "ask", "make a machine with". -EPROTO: another device than KVM, or another version of it, answered. */
int vmctl_kvm_try(const char *path, const char **out_step);

/* Opens AF_VSOCK's host side at `path` for a guest with this CID, which it has as long as the descriptor or a copy of it is
 * open. -EADDRINUSE: another guest has it; -EINVAL: no guest may have it; -ENOENT, -EACCES: the device. */
int vmctl_vhost_vsock_open(const char *path, uint64_t cid, int *out_fd);

#endif
