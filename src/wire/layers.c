/* From the bytes of layers to an image: the tar reader, the tree, the writer. */
#include "wire/layers.h"

#include "wire/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int vmctl_layers_open(struct vmctl_layers *l, const struct vmctl_erofs_sink *sink, const struct vmctl_layers_limits *limits)
{
    *l = (struct vmctl_layers){ .limits = *limits };
    struct vmctl_inode *root = vmctl_layers_inode(S_IFDIR | 0755);
    if (!root)
        return -ENOMEM;
    root->folder->meta.mode = root->mode;
    int err = vmctl_erofs_open(&l->out, sink);
    if (!err && !l->limits.entries)
        l->limits.entries = UINT32_MAX;
    if (!err)
        err = vmctl_layers_add(l, NULL, "", 0, root);
    if (!err)
        return 0;
    free(root->folder);
    free(root);
    vmctl_layers_close(l);
    return err;
}

void vmctl_layers_close(struct vmctl_layers *l)
{
    if (l->in_layer)
        vmctl_tar_close(&l->tar);
    l->in_layer = false;
    vmctl_layers_free(l);
    vmctl_erofs_close(&l->out);
    l->err = VMCTL_ECLOSED;
}

/* Faults that the archive's reader has found have their own words. */
static int layers_result(struct vmctl_layers *l, int err)
{
    if (err && l->in_layer && l->tar.why)
        vmctl_layers_fail(l, err, l->tar.why, NULL);
    if (err && !l->err)
        l->err = err;
    return l->err;
}

int vmctl_layers_begin(struct vmctl_layers *l)
{
    if (l->err)
        return l->err;
    if (l->in_layer)
        return -EINVAL;
    struct vmctl_tar_visitor visitor = vmctl_layers_visitor;
    visitor.ctx = l;
    vmctl_tar_open(&l->tar, &visitor);
    l->in_layer = true;
    l->layer++;
    return 0;
}

int vmctl_layers_feed(struct vmctl_layers *l, const void *bytes, size_t len)
{
    if (!l->in_layer)
        return l->err ? l->err : -EINVAL;
    return layers_result(l, vmctl_tar_feed(&l->tar, bytes, len));
}

int vmctl_layers_end(struct vmctl_layers *l)
{
    if (!l->in_layer)
        return l->err ? l->err : -EINVAL;
    int err = layers_result(l, vmctl_tar_end(&l->tar));
    vmctl_tar_close(&l->tar);
    l->in_layer = false;
    return err;
}

int vmctl_layers_finish(struct vmctl_layers *l, uint64_t *size)
{
    if (l->err)
        return l->err;
    int err = l->in_layer ? -EINVAL : vmctl_layers_folders(l);
    if (!err)
        err = vmctl_erofs_finish(&l->out, size);
    return layers_result(l, err);
}
