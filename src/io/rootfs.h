/* Makes the image of a root file system in a file, from layers that are read from descriptors. All calls block: they are for a worker. */
#ifndef VMCTL_IO_ROOTFS_H
#define VMCTL_IO_ROOTFS_H

#include "wire/layers.h"
#include "wire/sha256.h"

#include <stdatomic.h>

struct vmctl_rootfs {
    struct vmctl_layers layers;
    int fd;                     /* of the image */
    uint64_t size;              /* of the image, once it is finished */
    uint8_t *buffer;
    atomic_bool stop;           /* set by another thread: a running call ends soon, with -ECANCELED */
    atomic_ullong bytes;        /* of layers, unpacked, so far: for another thread */
};

/* Makes the file, which must not exist. 0 or -errno. */
int vmctl_rootfs_open(struct vmctl_rootfs *r, const char *path, const struct vmctl_layers_limits *limits);
void vmctl_rootfs_close(struct vmctl_rootfs *r);

/* Reads one layer: all bytes of `fd`, or `size` bytes from `offset` if `size` is not UINT64_MAX. `digest` is the SHA-256 of these bytes.
 * 0, -errno, or an error of vmctl_layers_feed. */
int vmctl_rootfs_layer(struct vmctl_rootfs *r, int fd, uint64_t offset, uint64_t size, uint8_t digest[VMCTL_SHA256_SIZE]);

/* Writes the rest of the image, and syncs the file. */
int vmctl_rootfs_finish(struct vmctl_rootfs *r);

/* The SHA-256 of a file's `size` bytes from `offset`. -EPROTO: it has fewer. */
int vmctl_rootfs_digest(struct vmctl_rootfs *r, int fd, uint64_t offset, uint64_t size, uint8_t digest[VMCTL_SHA256_SIZE]);

#endif
