/* A root file system that is made of layers, as the image specification of the Open Containers Initiative has them (layer.md): each
 * is a tar archive that adds files to those below it, replaces them, or hides them by white-outs. The result is one EROFS image.
 *
 * The parents of a path are resolved through symbolic links inside the root, as if the layer were unpacked there. Of two entries with
 * one name the later counts. White-outs and opaque marks hide entries of lower layers, anywhere in their layer. */
#ifndef VMCTL_WIRE_LAYERS_H
#define VMCTL_WIRE_LAYERS_H

#include "wire/erofs.h"
#include "wire/tar.h"

enum {
    VMCTL_LAYERS_PATH = 4096,  /* bytes of a path, and of a link's target */
    VMCTL_LAYERS_DEPTH = 256,  /* folders inside folders */
    VMCTL_LAYERS_LINKS = 40    /* symbolic links on the way of one path */
};

struct vmctl_folder {
    struct vmctl_node *first, *last;
    uint32_t count;
    uint32_t stripped;         /* the layer that has hidden all from lower ones in it */
    struct vmctl_erofs_meta meta;
    struct vmctl_xattrs xattrs;
};

/* The files that names lead to. */
struct vmctl_inode {
    uint32_t mode, links, written; /* links: names now; written: as the image has it */
    uint16_t machine;          /* of an ELF file: its e_machine */
    struct vmctl_erofs_place place;
    struct vmctl_folder *folder;
    char *target;              /* of a symbolic link */
};

struct vmctl_node {
    struct vmctl_node *parent, *next, *before, *chain; /* chain: of the table of names */
    struct vmctl_inode *inode;
    uint32_t layer;            /* the last that had an entry of this name */
    uint16_t depth, name_len;
    char name[];
};

struct vmctl_layers_limits {
    uint64_t entries, bytes;   /* names at once and entries at all; bytes of files' content */
};

struct vmctl_layers {
    struct vmctl_erofs out;
    struct vmctl_tar tar;
    struct vmctl_layers_limits limits;
    struct vmctl_node *root;
    struct vmctl_node **table;
    size_t table_size, names;
    uint64_t entries, bytes;
    uint32_t layer;
    bool in_layer;
    struct vmctl_inode *open;  /* the file whose content comes */
    uint8_t head[20];          /* its first bytes */
    size_t head_len;
    int err;
    char why[320];             /* the reason, once a call has failed */
};

/* 0 or -ENOMEM. */
int vmctl_layers_open(struct vmctl_layers *l, const struct vmctl_erofs_sink *sink, const struct vmctl_layers_limits *limits);
void vmctl_layers_close(struct vmctl_layers *l);

/* The bytes of a layer's archive, lowest layer first: begin, feed any number of times, end. 0; -EPROTO, VMCTL_ETOOBIG: see `why`; -ENOMEM;
 * what the sink gave. Sticky. */
int vmctl_layers_begin(struct vmctl_layers *l);
int vmctl_layers_feed(struct vmctl_layers *l, const void *bytes, size_t len);
int vmctl_layers_end(struct vmctl_layers *l);

/* The rest of the image. */
int vmctl_layers_finish(struct vmctl_layers *l, uint64_t *size);

/* The file that a path leads to, links followed; NULL: none. */
const struct vmctl_inode *vmctl_layers_find(struct vmctl_layers *l, const char *path);

/* layers_tree.c. True if any file is a program or a library: an ELF file. */
bool vmctl_layers_has_program(const struct vmctl_layers *l);
int vmctl_layers_fail(struct vmctl_layers *l, int err, const char *what, const char *path);
struct vmctl_node *vmctl_layers_child(struct vmctl_layers *l, const struct vmctl_node *folder, const char *name, size_t len);
int vmctl_layers_add(struct vmctl_layers *l, struct vmctl_node *folder, const char *name, size_t len, struct vmctl_inode *inode);
int vmctl_layers_remove(struct vmctl_layers *l, struct vmctl_node *node);
int vmctl_layers_strip(struct vmctl_layers *l, struct vmctl_node *folder);
struct vmctl_inode *vmctl_layers_inode(uint32_t mode);
int vmctl_layers_unlink(struct vmctl_layers *l, struct vmctl_inode *inode);
void vmctl_layers_free(struct vmctl_layers *l);

/* layers_path.c. The folder of the last part of a path, made if it is missing and `make` is set; else `*folder` is NULL if it is missing.
 * A last part without length means that the path is the root itself. */
int vmctl_layers_parent(struct vmctl_layers *l, const char *path, bool make, struct vmctl_node **folder, const char **name, size_t *len);

/* layers_apply.c: the tar reader's visitor. */
extern const struct vmctl_tar_visitor vmctl_layers_visitor;

/* layers_folders.c */
int vmctl_layers_folders(struct vmctl_layers *l);

#endif
