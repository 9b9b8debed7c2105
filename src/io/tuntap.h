/* TAP devices: Ethernet interfaces of this machine whose other end is a descriptor. */
#ifndef VMCTL_IO_TUNTAP_H
#define VMCTL_IO_TUNTAP_H

enum { VMCTL_TAP_NAME = 16 }; /* bytes of an interface's name, with its NUL */

/* Opens the TAP device of that name. A missing one is made, and removed with the descriptor. For an empty name, or one with "%d" in
 * it, the kernel chooses a name, which is put into `chosen`. -ENAMETOOLONG, -EPERM, -ENOENT (no /dev/net/tun), -EBUSY (another
 * process has it). */
int vmctl_tap_open(const char *name, char chosen[VMCTL_TAP_NAME], int *out_fd);

#endif
