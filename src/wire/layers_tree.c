/* The tree of names: nodes in a table by their folder and name, and in a list of their folder. */
#include "wire/error.h"
#include "wire/layers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Keeps the first reason. Bytes of a path that are no text are shown as "?". */
int vmctl_layers_fail(struct vmctl_layers *l, int err, const char *what, const char *path)
{
    if (l->why[0])
        return err;
    int n = snprintf(l->why, sizeof l->why, "%s%s%.200s", what, path ? ": " : "", path ? path : "");
    for (int i = 0; i < n && (size_t)i < sizeof l->why - 1; i++)
        if ((unsigned char)l->why[i] < 32 || (unsigned char)l->why[i] > 126)
            l->why[i] = '?';
    return err;
}

static size_t hash_name(const struct vmctl_layers *l, const struct vmctl_node *folder, const char *name, size_t len)
{
    uint64_t h = 1469598103934665603u ^ (uint64_t)(uintptr_t)folder >> 4;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 29) & (l->table_size - 1);
}

struct vmctl_node *vmctl_layers_child(struct vmctl_layers *l, const struct vmctl_node *folder, const char *name, size_t len)
{
    struct vmctl_node *n = l->table_size ? l->table[hash_name(l, folder, name, len)] : NULL;
    while (n && (n->parent != folder || n->name_len != len || memcmp(n->name, name, len) != 0))
        n = n->chain;
    return n;
}

bool vmctl_layers_has_program(const struct vmctl_layers *l)
{
    for (size_t i = 0; i < l->table_size; i++)
        for (const struct vmctl_node *n = l->table[i]; n; n = n->chain)
            if (n->inode->machine)
                return true;
    return false;
}

static int table_grow(struct vmctl_layers *l)
{
    size_t old = l->table_size, size = old ? old * 2 : 1024;
    struct vmctl_node **before = l->table, **table = calloc(size, sizeof(struct vmctl_node *));
    if (!table)
        return -ENOMEM;
    l->table = table;
    l->table_size = size;
    for (size_t i = 0; i < old; i++)
        for (struct vmctl_node *n = before[i], *next; n; n = next) {
            size_t at = hash_name(l, n->parent, n->name, n->name_len);
            next = n->chain;
            n->chain = table[at];
            table[at] = n;
        }
    free(before);
    return 0;
}

struct vmctl_inode *vmctl_layers_inode(uint32_t mode)
{
    struct vmctl_inode *inode = calloc(1, sizeof *inode);
    if (!inode)
        return NULL;
    inode->mode = mode;
    inode->folder = S_ISDIR(mode) ? calloc(1, sizeof *inode->folder) : NULL;
    if (!S_ISDIR(mode) || inode->folder)
        return inode;
    free(inode);
    return NULL;
}

static void inode_free(struct vmctl_inode *inode)
{
    if (inode->folder)
        vmctl_xattrs_free(&inode->folder->xattrs);
    free(inode->folder);
    free(inode->target);
    free(inode);
}

/* Removes a name of an inode; its data is dropped with the last one. */
int vmctl_layers_unlink(struct vmctl_layers *l, struct vmctl_inode *inode)
{
    if (inode->links > 1) {
        inode->links--;
        return 0;
    }
    int err = inode->folder || inode->place.count == 0 ? 0 : vmctl_erofs_drop(&l->out, &inode->place);
    inode_free(inode);
    return err;
}

/* Takes the inode over on success. */
int vmctl_layers_add(struct vmctl_layers *l, struct vmctl_node *folder, const char *name, size_t len, struct vmctl_inode *inode)
{
    if (folder && folder->depth >= VMCTL_LAYERS_DEPTH)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "folders too deep inside each other", NULL);
    if (l->names >= l->limits.entries)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "more files than the limit allows", NULL);
    int err = l->names * 2 >= l->table_size ? table_grow(l) : 0;
    struct vmctl_node *n = err ? NULL : malloc(sizeof *n + len + 1);
    if (!n)
        return -ENOMEM;
    *n = (struct vmctl_node){ .parent = folder, .inode = inode, .layer = l->layer, .name_len = (uint16_t)len };
    memcpy(n->name, name, len);
    n->name[len] = 0;
    inode->links++;
    l->names++;
    if (!folder) {
        l->root = n;
        return 0;
    }
    size_t at = hash_name(l, folder, name, len);
    struct vmctl_folder *f = folder->inode->folder;
    n->depth = (uint16_t)(folder->depth + 1);
    n->chain = l->table[at];
    l->table[at] = n;
    n->before = f->last;
    *(f->last ? &f->last->next : &f->first) = n;
    f->last = n;
    f->count++;
    return 0;
}

static void node_take_out(struct vmctl_layers *l, struct vmctl_node *n)
{
    struct vmctl_node **at = &l->table[hash_name(l, n->parent, n->name, n->name_len)];
    struct vmctl_folder *f = n->parent->inode->folder;
    while (*at != n)
        at = &(*at)->chain;
    *at = n->chain;
    *(n->before ? &n->before->next : &f->first) = n->next;
    *(n->next ? &n->next->before : &f->last) = n->before;
    f->count--;
    l->names--;
}

static int node_end(struct vmctl_layers *l, struct vmctl_node *n)
{
    node_take_out(l, n);
    int err = vmctl_layers_unlink(l, n->inode);
    free(n);
    return err;
}

/* Removes a node with all nodes below it: goes down to an empty node, removes it, and goes up again. Not for the root. */
int vmctl_layers_remove(struct vmctl_layers *l, struct vmctl_node *node)
{
    struct vmctl_node *n = node, *above;
    int err = 0;
    do {
        while (n->inode->folder && n->inode->folder->first)
            n = n->inode->folder->first;
        above = n->parent;
        bool last = n == node;
        int failed = node_end(l, n);
        err = err ? err : failed;
        if (last)
            return err;
        n = above;
    } while (true);
}

/* Hides lower layers' entries of a folder: only nodes with an entry of this layer stay. Folders that were stripped in this layer are
 * skipped, so that a layer visits each name once at most. */
int vmctl_layers_strip(struct vmctl_layers *l, struct vmctl_node *folder)
{
    struct vmctl_folder *f = folder->inode->folder;
    int err = 0;
    if (f->stripped == l->layer)
        return 0;
    f->stripped = l->layer;
    for (struct vmctl_node *n = f->first, *next; n && !err; n = next) {
        struct vmctl_folder *inner = n->inode->folder;
        next = n->next;
        if (inner)
            err = vmctl_layers_strip(l, n);
        if (!err && n->layer != l->layer && !(inner && inner->first))
            err = node_end(l, n);
    }
    return err;
}

/* Frees the tree, without a change of the image. */
void vmctl_layers_free(struct vmctl_layers *l)
{
    if (l->root) {
        for (size_t i = 0; i < l->table_size; i++)
            for (struct vmctl_node *n = l->table[i], *next; n; n = next) {
                next = n->chain;
                if (--n->inode->links == 0)
                    inode_free(n->inode);
                free(n);
            }
        inode_free(l->root->inode);
        free(l->root);
    }
    free(l->table);
    l->root = NULL;
    l->table = NULL;
}
