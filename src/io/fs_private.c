/* Opens files that only this user may read. */
#include "io/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int private_adopt(int fd, bool empty, struct stat *st)
{
    if (fstat(fd, st) < 0)
        return -errno;
    if (!S_ISREG(st->st_mode))
        return -EINVAL;
    if (st->st_uid != geteuid())
        return -EPERM;
    if ((st->st_mode & 07777) != 0600 && fchmod(fd, 0600) < 0)
        return -errno;
    return empty && ftruncate(fd, 0) < 0 ? -errno : 0;
}

int vmctl_private_open(const char *path, bool empty, int *out_fd, struct stat *st)
{
    /* NONBLOCK: opening a pipe must not wait for its reader before it is refused; it is emptied only once it is known whose */
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | (empty ? 0 : O_APPEND);
    int fd = open(path, flags, 0600);
    if (fd < 0)
        return errno == ENXIO ? -EINVAL : -errno; /* ENXIO: a FIFO without a reader */
    int err = private_adopt(fd, empty, st);
    if (err) {
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

int vmctl_unnamed_open(const char *folder, int *out_fd)
{
    int fd = folder ? open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (fd < 0 && (!folder || errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        fd = memfd_create("vmctl", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0666) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}
