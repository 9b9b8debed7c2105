/* Writes an EROFS image (the kernel's Documentation/filesystems/erofs.rst), uncompressed, while its content comes: a file's
 * data is written at once, its inode beside it; only the entries of folders stay in memory. Folders come at the end.
 *
 * The image has blocks of 4096 bytes, inodes of 64 bytes (times of 64 bits with nanoseconds, owners of 32 bits), no feature bits.
 * Extended attributes are inline while they are short, else shared among inodes. Blocks of zeros are not written: they are holes
 * of the image's file. The same calls in the same order make the same bytes. */
#ifndef VMCTL_WIRE_EROFS_H
#define VMCTL_WIRE_EROFS_H

#include "wire/xattrs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VMCTL_EROFS_BLOCK = 4096,
    VMCTL_EROFS_NAME = 255,
    VMCTL_EROFS_VERSION = 2 /* of the image that the same calls make, and of the image that layers make of the same archives: raised when
                             * either changes. The cache of images has it in its names */
};

/* The output. Both return 0 or -errno. Offsets go up and down; bytes that are not written read as zeros. */
struct vmctl_erofs_sink {
    void *ctx;
    int (*write)(void *ctx, const void *bytes, size_t len, uint64_t at);
    int (*discard)(void *ctx, uint64_t at, uint64_t len); /* it is not needed any more; may do nothing */
};

struct vmctl_erofs_meta {
    uint32_t mode, uid, gid, nsec; /* mode with the file's type */
    int64_t mtime;
    uint32_t major, minor; /* of devices */
    const struct vmctl_xattrs *xattrs; /* NULL: none */
};

/* Where an inode and its data have their place. */
struct vmctl_erofs_place {
    uint64_t at, size;    /* of the inode, in bytes from the image's beginning; of the data */
    uint32_t block, count; /* of the data that is in blocks */
    uint16_t body;        /* bytes of extended attributes behind the inode */
    bool tail;            /* the rest of the data is behind them */
};

struct vmctl_erofs {
    struct vmctl_erofs_sink sink;
    uint64_t next;        /* block that is not in use */
    uint64_t inodes;
    uint8_t *meta;        /* a run of blocks for inodes, in memory until it is full */
    uint64_t meta_at;
    size_t meta_used;
    uint8_t *out;         /* data that is not written yet */
    uint64_t out_at;
    size_t out_len;
    struct vmctl_erofs_place now; /* the inode whose data comes */
    uint64_t pos;
    uint8_t *shared;      /* extended attributes: entries, padded to four bytes */
    size_t shared_len, shared_cap;
    uint32_t *slots;      /* their table: offset + 1, 0 is free */
    size_t slot_count, slots_used;
};

/* 0 or -ENOMEM. */
int vmctl_erofs_open(struct vmctl_erofs *w, const struct vmctl_erofs_sink *sink);
void vmctl_erofs_close(struct vmctl_erofs *w);

/* Reserves the place of an inode with `size` bytes of data: VMCTL_ETOOBIG (too large an image, too many attributes), -ENOMEM, or an
 * error of the sink. The root's is at the beginning, and can be taken once. */
int vmctl_erofs_place(struct vmctl_erofs *w, const struct vmctl_erofs_meta *m, uint64_t size, bool root, struct vmctl_erofs_place *out);

/* Writes the inode. Its data follows by _write and _skip (zeros), which take no more than its size. */
int vmctl_erofs_start(struct vmctl_erofs *w, const struct vmctl_erofs_meta *m, const struct vmctl_erofs_place *place, uint32_t links);
int vmctl_erofs_write(struct vmctl_erofs *w, const void *bytes, size_t len);
int vmctl_erofs_skip(struct vmctl_erofs *w, uint64_t len);

/* Changes the number of links of an inode that was written. */
int vmctl_erofs_links(struct vmctl_erofs *w, uint64_t nid, uint32_t links);

/* Drops an inode to which nothing refers any more. */
int vmctl_erofs_drop(struct vmctl_erofs *w, const struct vmctl_erofs_place *place);

/* Writes the rest. The image then has `*size` bytes, of which the last may be a hole. */
int vmctl_erofs_finish(struct vmctl_erofs *w, uint64_t *size);

static inline uint64_t vmctl_erofs_nid(const struct vmctl_erofs_place *place)
{
    return place->at / 32;
}

/* erofs_xattr.c. The attributes as they are written behind an inode: at most VMCTL_EROFS_BODY bytes. */
enum { VMCTL_EROFS_BODY = 2304 };
int vmctl_erofs_body(struct vmctl_erofs *w, const struct vmctl_xattrs *x, uint8_t *out, size_t *len);

#endif
