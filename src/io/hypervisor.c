/* Asks this machine for KVM and for the host side of AF_VSOCK. */
#include "io/hypervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int kvm_ask(int fd, const char **out_step)
{
    *out_step = "ask";
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return -errno;
    if (version != KVM_API_VERSION)
        return -EPROTO;
    *out_step = "make a machine with";
    int vm = ioctl(fd, KVM_CREATE_VM, 0);
    if (vm < 0)
        return -errno;
    close(vm);
    return 0;
}

int vmctl_kvm_try(const char *path, const char **out_step)
{
    *out_step = "open";
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK); /* a FIFO in its place must not hold us up */
    if (fd < 0)
        return -errno;
    int err = kvm_ask(fd, out_step);
    close(fd);
    return err;
}

int vmctl_vhost_vsock_open(const char *path, uint64_t cid, int *out_fd)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}
