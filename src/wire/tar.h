/* Reads a tar archive as its bytes come, in pieces of any size: POSIX' ustar and pax, GNU's long names, numbers in base 256, and
 * sparse files in all of GNU's forms. A visitor gets the fields of each header, and then the file's bytes. */
#ifndef VMCTL_WIRE_TAR_H
#define VMCTL_WIRE_TAR_H

#include "wire/xattrs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VMCTL_TAR_BLOCK = 512,
    VMCTL_TAR_EXTRA = 4 * 1024 * 1024, /* bytes of a pax header, a long name, or a sparse file's map */
    VMCTL_TAR_PIECES = 256 * 1024      /* of a sparse file */
};

enum vmctl_tar_kind {
    VMCTL_TAR_FILE, VMCTL_TAR_LINK, VMCTL_TAR_SYMLINK, VMCTL_TAR_CHAR, VMCTL_TAR_BLOCK_DEVICE, VMCTL_TAR_FOLDER, VMCTL_TAR_FIFO
};

/* Valid during the visitor's call. The texts end in a zero that their lengths do not count; there is no other in them. */
struct vmctl_tar_entry {
    enum vmctl_tar_kind kind;
    const char *path, *target; /* target: of links */
    size_t path_len, target_len;
    uint32_t mode, uid, gid, nsec, major, minor;
    int64_t mtime;
    uint64_t size;             /* of files, with their holes */
    const struct vmctl_xattrs *xattrs;
};

/* Each returns 0, or a negative number that ends the reading. Of a file `size` bytes follow the entry, in order, then `end`. */
struct vmctl_tar_visitor {
    void *ctx;
    int (*entry)(void *ctx, const struct vmctl_tar_entry *e);
    int (*data)(void *ctx, const void *bytes, size_t len);
    int (*hole)(void *ctx, uint64_t len);
    int (*end)(void *ctx);
};

struct vmctl_tar_piece {
    uint64_t at, len;
};

struct vmctl_tar_text {
    char *bytes;
    size_t len, cap;
};

/* The facts that pax headers and GNU's extra entries tell about the entry that follows them. */
struct vmctl_tar_pax {
    struct vmctl_tar_text path, link, name; /* name: of GNU's sparse files */
    struct vmctl_xattrs xattrs;
    bool has_path, has_link, has_name, has_size, has_uid, has_gid, has_mtime, has_real;
    uint64_t size, uid, gid, real;
    int64_t mtime;
    uint32_t nsec;
    int sparse;                /* 0: no, 1: the map is here, 2: the map is in front of the data */
    uint64_t offset;           /* of a piece whose length has not come */
};

struct vmctl_tar {
    struct vmctl_tar_visitor visitor;
    int state, err;
    const char *why;           /* the reason, once a call has returned -EPROTO or VMCTL_ETOOBIG itself */
    uint8_t block[VMCTL_TAR_BLOCK];
    size_t have;
    char extra_type;           /* of the entry whose data goes into `extra` */
    struct vmctl_tar_text extra;
    struct vmctl_tar_pax pax;
    struct vmctl_tar_piece *pieces;
    size_t piece_count, piece_cap, piece;
    uint64_t left, pad;        /* bytes of the data, and behind it, that have not come */
    uint64_t pos, size;        /* in a sparse file */
    uint64_t map_left;         /* numbers of the map in front of the data; UINT64_MAX: their count has not come */
    uint64_t number, mapped;   /* the number that is being read; the bytes of the map so far */
    bool digits, sparse, ended;
    struct vmctl_tar_entry entry;
    char text[2][257 + VMCTL_TAR_BLOCK];
};

void vmctl_tar_open(struct vmctl_tar *t, const struct vmctl_tar_visitor *visitor);
void vmctl_tar_close(struct vmctl_tar *t);

/* Takes all of the bytes. 0; -EPROTO: not a tar archive, or a damaged one; VMCTL_ETOOBIG; -ENOMEM; an error of a visitor. Sticky. */
int vmctl_tar_feed(struct vmctl_tar *t, const void *bytes, size_t len);

/* After the last byte. -EPROTO: it stops in the middle. */
int vmctl_tar_end(struct vmctl_tar *t);

/* tar_pax.c. Reads the records of a pax header, in addition to earlier ones. */
int vmctl_tar_pax_read(struct vmctl_tar *t, const char *bytes, size_t len);
void vmctl_tar_pax_clear(struct vmctl_tar *t);
int vmctl_tar_text_set(struct vmctl_tar_text *to, const void *bytes, size_t len);

/* tar_number.c. A header's field: octal digits, or base 256. */
bool vmctl_tar_number(const uint8_t *field, size_t len, int64_t *out);
bool vmctl_tar_decimal(const char *text, size_t len, uint64_t *out);
bool vmctl_tar_time(const char *text, size_t len, int64_t *seconds, uint32_t *nsec);

/* tar_sparse.c */
int vmctl_tar_piece_add(struct vmctl_tar *t, uint64_t at, uint64_t len);
int vmctl_tar_sparse_header(struct vmctl_tar *t, const uint8_t *entries, size_t count);
int vmctl_tar_sparse_map(struct vmctl_tar *t, const uint8_t *bytes, size_t len, size_t *taken);
int vmctl_tar_sparse_data(struct vmctl_tar *t, const uint8_t *bytes, size_t len);
int vmctl_tar_sparse_end(struct vmctl_tar *t);

#endif
