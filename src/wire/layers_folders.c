/* The folders of an image, which come last: each has blocks of entries, sorted by the bytes of their names. */
#include "wire/error.h"
#include "wire/layers.h"
#include "wire/le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DIRENT = 12 };

/* An entry on its way into a block. */
struct dirent {
    const char *name;
    size_t len;
    const struct vmctl_inode *inode;
};

static int compare(const void *a, const void *b)
{
    const struct dirent *x = a, *y = b;
    int order = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* A folder's entries with "." and "..", sorted. The caller frees them. */
static struct dirent *entries_of(const struct vmctl_layers *l, const struct vmctl_node *folder, size_t *count)
{
    const struct vmctl_folder *f = folder->inode->folder;
    struct dirent *all = calloc((size_t)f->count + 2, sizeof *all);
    size_t n = 0;
    if (!all)
        return NULL;
    all[n++] = (struct dirent){ ".", 1, folder->inode };
    all[n++] = (struct dirent){ "..", 2, folder->parent ? folder->parent->inode : l->root->inode };
    for (const struct vmctl_node *c = f->first; c; c = c->next)
        all[n++] = (struct dirent){ c->name, c->name_len, c->inode };
    qsort(all, n, sizeof *all, compare);
    *count = n;
    return all;
}

/* How many of the entries fit a block, and the bytes that they take. */
static size_t block_fill(const struct dirent *all, size_t count, size_t *bytes)
{
    size_t n = 0, used = 0;
    while (n < count && used + DIRENT + all[n].len <= VMCTL_EROFS_BLOCK)
        used += DIRENT + all[n++].len;
    *bytes = used;
    return n;
}

static uint64_t folder_size(const struct dirent *all, size_t count)
{
    uint64_t size = 0;
    size_t used;
    for (size_t at = 0; at < count; size += at < count ? VMCTL_EROFS_BLOCK : used)
        at += block_fill(all + at, count - at, &used);
    return size;
}

static uint8_t file_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return 1;
    case S_IFDIR: return 2;
    case S_IFCHR: return 3;
    case S_IFBLK: return 4;
    case S_IFIFO: return 5;
    default: return 7;
    }
}

static int write_block(struct vmctl_layers *l, const struct dirent *all, size_t count, size_t size)
{
    uint8_t block[VMCTL_EROFS_BLOCK] = { 0 };
    size_t name = count * DIRENT;
    for (size_t i = 0; i < count; i++) {
        uint8_t *d = block + i * DIRENT;
        vmctl_put_le64(d, vmctl_erofs_nid(&all[i].inode->place));
        vmctl_put_le16(d + 8, (uint16_t)name);
        d[10] = file_type(all[i].inode->mode);
        memcpy(block + name, all[i].name, all[i].len);
        name += all[i].len;
    }
    return vmctl_erofs_write(&l->out, block, size);
}

static int write_entries(struct vmctl_layers *l, const struct dirent *all, size_t count)
{
    int err = 0;
    size_t used;
    for (size_t at = 0, n; at < count && !err; at += n) {
        n = block_fill(all + at, count - at, &used);
        err = write_block(l, all + at, n, at + n < count ? VMCTL_EROFS_BLOCK : used);
    }
    return err;
}

/* The first visit: reserves the folder's place. */
static int folder_place(struct vmctl_layers *l, struct vmctl_node *n)
{
    size_t count;
    struct dirent *all = entries_of(l, n, &count);
    if (!all)
        return -ENOMEM;
    uint64_t size = folder_size(all, count);
    free(all);
    return vmctl_erofs_place(&l->out, &n->inode->folder->meta, size, n == l->root, &n->inode->place);
}

static uint32_t folder_links(const struct vmctl_node *n)
{
    uint32_t links = 2;
    for (const struct vmctl_node *c = n->inode->folder->first; c; c = c->next)
        links += c->inode->folder != NULL;
    return links;
}

/* The second visit: writes its entries, whose folders have places by now. */
static int folder_write(struct vmctl_layers *l, struct vmctl_node *n)
{
    size_t count;
    struct dirent *all = entries_of(l, n, &count);
    if (!all)
        return -ENOMEM;
    int err = vmctl_erofs_start(&l->out, &n->inode->folder->meta, &n->inode->place, folder_links(n));
    if (!err)
        err = write_entries(l, all, count);
    free(all);
    return err;
}

static int node_links(struct vmctl_layers *l, struct vmctl_node *n)
{
    struct vmctl_inode *inode = n->inode;
    if (inode->written == inode->links)
        return 0;
    inode->written = inode->links;
    return vmctl_erofs_links(&l->out, vmctl_erofs_nid(&inode->place), inode->links);
}

/* Calls `fn` for each folder (or each other node), from above, in the order in which they came into the tree. */
static int each(struct vmctl_layers *l, bool folders, int (*fn)(struct vmctl_layers *, struct vmctl_node *))
{
    struct vmctl_node *n = l->root;
    int err = 0;
    while (n && !err) {
        struct vmctl_folder *f = n->inode->folder;
        err = (f != NULL) == folders ? fn(l, n) : 0;
        if (f && f->first) {
            n = f->first;
            continue;
        }
        while (n && !n->next)
            n = n->parent;
        n = n ? n->next : NULL;
    }
    return err;
}

int vmctl_layers_folders(struct vmctl_layers *l)
{
    int err = each(l, false, node_links);
    if (!err)
        err = each(l, true, folder_place);
    if (!err)
        err = each(l, true, folder_write);
    return err == VMCTL_ETOOBIG ? vmctl_layers_fail(l, err, "more than an image can hold", NULL) : err;
}
