/* The image of a root file system: layers are read into the tree of files, and written from there to a file. */
#include "io/rootfs.h"

#include "wire/error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ROOTFS_PIECE = 256 * 1024,
    ROOTFS_LOOK = 200,           /* milliseconds between two checks of `stop` */
    ROOTFS_PIPE = 1024 * 1024
};

static int image_write(void *ctx, const void *bytes, size_t len, uint64_t at)
{
    const struct vmctl_rootfs *r = ctx;
    const char *p = bytes;
    while (len) {
        ssize_t n = pwrite(r->fd, p, len, (off_t)at);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            p += n;
            at += (uint64_t)n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Makes a hole. A file system without holes keeps the bytes, which nothing refers to. */
static int image_discard(void *ctx, uint64_t at, uint64_t len)
{
    const struct vmctl_rootfs *r = ctx;
    if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len) == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR ? 0 : -errno;
}

int vmctl_rootfs_open(struct vmctl_rootfs *r, const char *path, const struct vmctl_layers_limits *limits)
{
    struct vmctl_erofs_sink sink = { .ctx = r, .write = image_write, .discard = image_discard };
    r->fd = -1;
    r->size = 0;
    atomic_init(&r->stop, false);
    atomic_init(&r->bytes, 0);
    r->buffer = malloc(ROOTFS_PIECE);
    if (!r->buffer)
        return -ENOMEM;
    int err = vmctl_layers_open(&r->layers, &sink, limits);
    if (!err) {
        r->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        err = r->fd < 0 ? -errno : 0;
        if (err)
            vmctl_layers_close(&r->layers);
    }
    if (err)
        free(r->buffer);
    return err;
}

void vmctl_rootfs_close(struct vmctl_rootfs *r)
{
    vmctl_layers_close(&r->layers);
    free(r->buffer);
    close(r->fd);
}

/* Reads the next bytes: from an offset of a file, or those that a pipe has. 0: the end. */
static ssize_t piece_read(struct vmctl_rootfs *r, int fd, uint64_t offset, uint64_t left)
{
    size_t most = left < ROOTFS_PIECE ? (size_t)left : ROOTFS_PIECE;
    while (!atomic_load(&r->stop)) {
        ssize_t n = left == UINT64_MAX ? read(fd, r->buffer, ROOTFS_PIECE) : pread(fd, r->buffer, most, (off_t)offset);
        if (n >= 0)
            return n;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, ROOTFS_LOOK) < 0 && errno != EINTR)
            return -errno;
    }
    return -ECANCELED;
}

/* Reads all of it; each piece goes to `layers`, unless that is NULL. */
static int read_all(struct vmctl_rootfs *r, int fd, uint64_t offset, uint64_t size, struct vmctl_layers *layers, uint8_t *digest)
{
    struct vmctl_sha256 hash;
    uint64_t left = size;
    int err = 0;
    vmctl_sha256_init(&hash);
    while (!err && left) {
        ssize_t n = piece_read(r, fd, offset, left);
        if (n <= 0) {
            err = n < 0 ? (int)n : left == UINT64_MAX ? 0 : -EPROTO;
            break;
        }
        vmctl_sha256_update(&hash, r->buffer, (size_t)n);
        if (layers)
            err = vmctl_layers_feed(layers, r->buffer, (size_t)n);
        atomic_fetch_add(&r->bytes, (unsigned long long)n);
        offset += (uint64_t)n;
        left -= left == UINT64_MAX ? 0 : (uint64_t)n;
    }
    vmctl_sha256_digest(&hash, digest);
    return err;
}

int vmctl_rootfs_layer(struct vmctl_rootfs *r, int fd, uint64_t offset, uint64_t size, uint8_t digest[VMCTL_SHA256_SIZE])
{
    if (size == UINT64_MAX) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return -errno;
        (void)fcntl(fd, F_SETPIPE_SZ, ROOTFS_PIPE); /* fewer switches between the two sides; may fail */
    }
    int err = vmctl_layers_begin(&r->layers);
    if (!err)
        err = read_all(r, fd, offset, size, &r->layers, digest);
    return err ? err : vmctl_layers_end(&r->layers);
}

int vmctl_rootfs_digest(struct vmctl_rootfs *r, int fd, uint64_t offset, uint64_t size, uint8_t digest[VMCTL_SHA256_SIZE])
{
    return read_all(r, fd, offset, size, NULL, digest);
}

int vmctl_rootfs_finish(struct vmctl_rootfs *r)
{
    int err = vmctl_layers_finish(&r->layers, &r->size);
    if (err)
        return err;
    return ftruncate(r->fd, (off_t)r->size) < 0 || fdatasync(r->fd) < 0 ? -errno : 0;
}
