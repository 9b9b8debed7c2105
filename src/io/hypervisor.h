/* This machine's means to run guests: KVM, and AF_VSOCK's host side. */
#ifndef VMCTL_IO_HYPERVISOR_H
#define VMCTL_IO_HYPERVISOR_H

#include <stdint.h>

/* Makes and drops a virtual machine of KVM's at `path`. A negative errno says why that fails, and *out_step what did: "open",
 * "ask", "make a machine with". -EPROTO: something else than KVM, or one of another version, answered. */
int vmctl_kvm_try(const char *path, const char **out_step);

/* Opens AF_VSOCK's host side at `path` for a guest with this CID, which it has as long as the descriptor or a copy of it is
 * open. -EADDRINUSE: another guest has it; -EINVAL: no guest may have it; -ENOENT, -EACCES: the device. */
int vmctl_vhost_vsock_open(const char *path, uint64_t cid, int *out_fd);

#endif
