/* Applies the entries of a layer's archive to the tree. */
#include "wire/error.h"
#include "wire/layers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const uint32_t types[] = {
    [VMCTL_TAR_FILE] = S_IFREG, [VMCTL_TAR_LINK] = 0, [VMCTL_TAR_SYMLINK] = S_IFLNK, [VMCTL_TAR_CHAR] = S_IFCHR,
    [VMCTL_TAR_BLOCK_DEVICE] = S_IFBLK, [VMCTL_TAR_FOLDER] = S_IFDIR, [VMCTL_TAR_FIFO] = S_IFIFO
};

static struct vmctl_erofs_meta entry_meta(const struct vmctl_tar_entry *e)
{
    return (struct vmctl_erofs_meta){ .mode = types[e->kind] | e->mode, .uid = e->uid, .gid = e->gid, .mtime = e->mtime,
                                      .nsec = e->nsec, .major = e->major, .minor = e->minor, .xattrs = e->xattrs };
}

/* White-outs */

/* ".wh.NAME" hides lower layers' file of that name; it is no failure if there is none. */
static int hide_one(struct vmctl_layers *l, const char *path, struct vmctl_node *folder, const char *name, size_t len)
{
    if (len == 0 || (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))))
        return vmctl_layers_fail(l, -EPROTO, "a white-out without a name", path);
    struct vmctl_node *n = vmctl_layers_child(l, folder, name, len);
    if (!n)
        return 0;
    int err = n->inode->folder ? vmctl_layers_strip(l, n) : 0;
    bool kept = n->layer == l->layer || (n->inode->folder && n->inode->folder->first);
    return err || kept ? err : vmctl_layers_remove(l, n);
}

static int hide(struct vmctl_layers *l, const char *path, const char *name, size_t len)
{
    static const char opaque[] = ".wh..wh..opq";
    struct vmctl_node *folder;
    const char *again;
    size_t n;
    int err = vmctl_layers_parent(l, path, false, &folder, &again, &n);
    if (err || !folder)
        return err;
    if (len == sizeof opaque - 1 && memcmp(name, opaque, len) == 0)
        return vmctl_layers_strip(l, folder);
    if (len >= 8 && memcmp(name, ".wh..wh.", 8) == 0)
        return 0; /* a file of an old union file system's own */
    return hide_one(l, path, folder, name + 4, len - 4);
}

/* Folders */

static int folder_set(struct vmctl_inode *inode, const struct vmctl_tar_entry *e)
{
    struct vmctl_xattrs copy;
    int err = vmctl_xattrs_copy(&copy, e->xattrs);
    if (err)
        return err;
    vmctl_xattrs_free(&inode->folder->xattrs);
    inode->folder->xattrs = copy;
    inode->folder->meta = entry_meta(e);
    inode->folder->meta.xattrs = &inode->folder->xattrs;
    inode->mode = inode->folder->meta.mode;
    return 0;
}

static int put_root(struct vmctl_layers *l, const struct vmctl_tar_entry *e)
{
    if (e->kind != VMCTL_TAR_FOLDER)
        return vmctl_layers_fail(l, -EPROTO, "the root is not a folder", e->path);
    l->root->layer = l->layer;
    return folder_set(l->root->inode, e);
}

/* Makes an inode of any kind but a hard link. On success its place in the image is known. */

static int inode_content(struct vmctl_layers *l, struct vmctl_inode *inode, const struct vmctl_tar_entry *e)
{
    struct vmctl_erofs_meta m = entry_meta(e);
    uint64_t size = e->kind == VMCTL_TAR_SYMLINK ? e->target_len : e->size;
    if (e->kind == VMCTL_TAR_FOLDER)
        return folder_set(inode, e);
    if (e->kind == VMCTL_TAR_SYMLINK) {
        if (size == 0 || size >= VMCTL_LAYERS_PATH)
            return vmctl_layers_fail(l, -EPROTO, "a symbolic link without a target, or with one that is too long", e->path);
        inode->target = strdup(e->target);
        if (!inode->target)
            return -ENOMEM;
        m.mode |= 0777; /* as the kernel has it */
    }
    int err = vmctl_erofs_place(&l->out, &m, size, false, &inode->place);
    if (!err)
        err = vmctl_erofs_start(&l->out, &m, &inode->place, 1);
    if (!err && e->kind == VMCTL_TAR_SYMLINK)
        err = vmctl_erofs_write(&l->out, e->target, e->target_len);
    inode->written = 1;
    return err == VMCTL_ETOOBIG ? vmctl_layers_fail(l, err, "more than an image can hold", e->path) : err;
}

static int inode_make(struct vmctl_layers *l, const struct vmctl_tar_entry *e, struct vmctl_inode **out)
{
    struct vmctl_inode *inode = vmctl_layers_inode(types[e->kind] | e->mode);
    if (!inode)
        return -ENOMEM;
    if (inode->folder)
        inode->folder->stripped = l->layer;
    int err = inode_content(l, inode, e);
    if (err) {
        vmctl_layers_unlink(l, inode);
        return err;
    }
    *out = inode;
    return 0;
}

/* Hard links */

static int link_target(struct vmctl_layers *l, const struct vmctl_tar_entry *e, struct vmctl_inode **out)
{
    struct vmctl_node *folder, *n;
    const char *name;
    size_t len;
    if (e->target_len > VMCTL_LAYERS_PATH)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "a path that is too long", e->target);
    int err = vmctl_layers_parent(l, e->target, false, &folder, &name, &len);
    if (err)
        return err;
    n = folder ? vmctl_layers_child(l, folder, name, len) : NULL;
    if (!n || n->inode->folder)
        return vmctl_layers_fail(l, -EPROTO, n ? "a hard link to a folder" : "a hard link to what is not there", e->target);
    if (n->inode->links == UINT32_MAX)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "too many hard links", e->target);
    *out = n->inode;
    return 0;
}

/* Entries */

/* Gives a name to an inode, a new one or one that has other names, in place of the name's old inode. */
static int put_inode(struct vmctl_layers *l, struct vmctl_node *folder, const char *name, size_t len, struct vmctl_inode *inode)
{
    struct vmctl_node *old = vmctl_layers_child(l, folder, name, len);
    inode->links++; /* so that it stays when the old name goes */
    int err = old ? vmctl_layers_remove(l, old) : 0;
    if (!err)
        err = vmctl_layers_add(l, folder, name, len, inode);
    if (err)
        vmctl_layers_unlink(l, inode);
    else
        inode->links--;
    return err;
}

static int put_entry(struct vmctl_layers *l, const struct vmctl_tar_entry *e, struct vmctl_node *folder, const char *name, size_t len)
{
    struct vmctl_node *old = vmctl_layers_child(l, folder, name, len);
    struct vmctl_inode *inode = NULL;
    if (old && old->inode->folder && e->kind == VMCTL_TAR_FOLDER) {
        old->layer = l->layer;
        return folder_set(old->inode, e);
    }
    int err = e->kind == VMCTL_TAR_LINK ? link_target(l, e, &inode) : inode_make(l, e, &inode);
    if (!err)
        err = put_inode(l, folder, name, len, inode);
    if (err || e->kind != VMCTL_TAR_FILE)
        return err;
    l->open = inode;
    l->head_len = 0;
    return 0;
}

static int apply_entry(struct vmctl_layers *l, const struct vmctl_tar_entry *e)
{
    struct vmctl_node *folder;
    const char *name;
    size_t len;
    l->open = NULL;
    if (++l->entries > l->limits.entries)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "more files than the limit allows", e->path);
    if (e->path_len > VMCTL_LAYERS_PATH)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "a path that is too long", e->path);
    if (e->path_len == 0)
        return vmctl_layers_fail(l, -EPROTO, "an entry without a name", NULL);
    const char *last = e->path + e->path_len;
    while (last > e->path && last[-1] != '/')
        last--;
    if (strncmp(last, ".wh.", 4) == 0)
        return hide(l, e->path, last, strlen(last));
    int err = vmctl_layers_parent(l, e->path, true, &folder, &name, &len);
    if (err || len == 0)
        return err ? err : put_root(l, e);
    if (len > VMCTL_EROFS_NAME)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "a name that is too long", e->path);
    return put_entry(l, e, folder, name, len);
}

/* The visitor */

static int on_entry(void *ctx, const struct vmctl_tar_entry *e)
{
    return apply_entry(ctx, e);
}

static int on_data(void *ctx, const void *bytes, size_t len)
{
    struct vmctl_layers *l = ctx;
    if (!l->open)
        return 0;
    if (len > l->limits.bytes - l->bytes)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "more bytes than the limit allows", NULL);
    l->bytes += len;
    size_t n = sizeof l->head - l->head_len < len ? sizeof l->head - l->head_len : len;
    memcpy(l->head + l->head_len, bytes, n);
    l->head_len += n;
    return vmctl_erofs_write(&l->out, bytes, len);
}

static int on_hole(void *ctx, uint64_t len)
{
    struct vmctl_layers *l = ctx;
    return l->open ? vmctl_erofs_skip(&l->out, len) : 0;
}

static int on_end(void *ctx)
{
    struct vmctl_layers *l = ctx;
    const uint8_t *h = l->head;
    bool big = l->head_len == sizeof l->head && h[5] == 2;
    if (l->open && l->head_len == sizeof l->head && memcmp(h, "\177ELF", 4) == 0)
        l->open->machine = (uint16_t)(big ? h[18] << 8 | h[19] : h[19] << 8 | h[18]);
    l->open = NULL;
    return 0;
}

const struct vmctl_tar_visitor vmctl_layers_visitor = { .entry = on_entry, .data = on_data, .hole = on_hole, .end = on_end };
