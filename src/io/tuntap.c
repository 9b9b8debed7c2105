/* Opens TAP devices. */
#include "io/tuntap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

_Static_assert(VMCTL_TAP_NAME == IFNAMSIZ, "the kernel's names are as long as ours");

int vmctl_tap_open(const char *name, char chosen[VMCTL_TAP_NAME], int *out_fd)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    size_t len = strlen(name);
    if (len >= sizeof request.ifr_name)
        return -ENAMETOOLONG;
    memcpy(request.ifr_name, name, len + 1);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    memcpy(chosen, request.ifr_name, VMCTL_TAP_NAME);
    chosen[VMCTL_TAP_NAME - 1] = '\0';
    *out_fd = fd;
    return 0;
}
