/* Paths: their parents are followed through symbolic links, which never lead out of the root. */
#include "wire/error.h"
#include "wire/layers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The rest of a path that is walked: a link's target is put in front of it. */
struct walk {
    char text[2 * VMCTL_LAYERS_PATH + 2];
    size_t at, len;
    unsigned links;
};

static bool part_is(const char *p, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(p, name, len) == 0;
}

/* The next part, without slashes; false: there is none. */
static bool walk_next(struct walk *w, const char **part, size_t *len)
{
    do {
        while (w->at < w->len && w->text[w->at] == '/')
            w->at++;
        *part = w->text + w->at;
        *len = strcspn(*part, "/");
        w->at += *len;
    } while (part_is(*part, *len, "."));
    return *len > 0;
}

static bool walk_is_last(const struct walk *w)
{
    size_t at = w->at;
    while (w->text[at] == '/' || (w->text[at] == '.' && (w->text[at + 1] == '/' || w->text[at + 1] == 0)))
        at++;
    return w->text[at] == 0;
}

static int walk_link(struct vmctl_layers *l, struct walk *w, const char *target, const char *path)
{
    size_t len = strlen(target), rest = w->len - w->at;
    if (++w->links > VMCTL_LAYERS_LINKS)
        return vmctl_layers_fail(l, -EPROTO, "too many symbolic links on the way of a path", path);
    if (len + 1 + rest >= sizeof w->text)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "a path that is too long", path);
    memmove(w->text + len + 1, w->text + w->at, rest + 1);
    memcpy(w->text, target, len);
    w->text[len] = '/';
    w->at = 0;
    w->len = len + 1 + rest;
    return 0;
}

/* A folder that no entry has named yet. */
static int make_folder(struct vmctl_layers *l, struct vmctl_node *in, const char *name, size_t len, struct vmctl_node **out)
{
    struct vmctl_inode *inode = vmctl_layers_inode(S_IFDIR | 0755);
    if (!inode)
        return -ENOMEM;
    inode->folder->meta.mode = inode->mode;
    inode->folder->stripped = l->layer;
    int err = vmctl_layers_add(l, in, name, len, inode);
    if (err) {
        free(inode->folder);
        free(inode);
        return err;
    }
    *out = vmctl_layers_child(l, in, name, len);
    return 0;
}

/* Goes from a folder to the folder that `name` leads to in it; `*node` is NULL if that is none. */
static int walk_step(struct vmctl_layers *l, struct walk *w, const char *path, const char *name, size_t len, bool make,
                     struct vmctl_node **node)
{
    struct vmctl_node *in = *node, *next = vmctl_layers_child(l, in, name, len);
    if (next && S_ISDIR(next->inode->mode)) {
        *node = next;
        return 0;
    }
    if (next && S_ISLNK(next->inode->mode)) {
        if (next->inode->target[0] == '/')
            *node = l->root;
        return walk_link(l, w, next->inode->target, path);
    }
    *node = NULL;
    if (!make)
        return 0;
    if (next && next->layer == l->layer)
        return vmctl_layers_fail(l, -EPROTO, "a path that leads through a file", path);
    int err = next ? vmctl_layers_remove(l, next) : 0;
    if (!err && len > VMCTL_EROFS_NAME)
        err = vmctl_layers_fail(l, VMCTL_ETOOBIG, "a name that is too long", path);
    return err ? err : make_folder(l, in, name, len, node);
}

static int walk_begin(struct vmctl_layers *l, struct walk *w, const char *path)
{
    size_t len = strlen(path);
    if (len > VMCTL_LAYERS_PATH)
        return vmctl_layers_fail(l, VMCTL_ETOOBIG, "a path that is too long", path);
    memcpy(w->text, path, len + 1);
    w->at = 0;
    w->len = len;
    w->links = 0;
    return 0;
}

/* Only a link's target may have "..". */
static int refuse_up(struct vmctl_layers *l, const char *path)
{
    for (const char *p = path; *p; p += strcspn(p, "/")) {
        p += strspn(p, "/");
        if (part_is(p, strcspn(p, "/"), ".."))
            return vmctl_layers_fail(l, -EPROTO, "a path with '..'", path);
    }
    return 0;
}

/* Walks all parts but the last, which is returned as it is in `path`. */
static int walk_parents(struct vmctl_layers *l, const char *path, size_t until, bool make, struct vmctl_node **folder)
{
    struct walk *w = malloc(sizeof *w);
    const char *part;
    size_t len;
    int err = w ? walk_begin(l, w, path) : -ENOMEM;
    if (!err) {
        w->text[until] = 0;
        w->len = until;
    }
    *folder = l->root;
    while (!err && *folder && walk_next(w, &part, &len)) {
        char name[VMCTL_LAYERS_PATH + 1];
        if (part_is(part, len, "..")) {
            *folder = (*folder)->parent ? (*folder)->parent : l->root;
            continue;
        }
        if (len > VMCTL_LAYERS_PATH) {
            err = vmctl_layers_fail(l, VMCTL_ETOOBIG, "a name that is too long", path);
            break;
        }
        memcpy(name, part, len);
        err = walk_step(l, w, path, name, len, make, folder);
    }
    free(w);
    return err;
}

int vmctl_layers_parent(struct vmctl_layers *l, const char *path, bool make, struct vmctl_node **folder, const char **name, size_t *len)
{
    int err = refuse_up(l, path);
    size_t end = strlen(path), begin;
    while (end && (path[end - 1] == '/' || (path[end - 1] == '.' && (end == 1 || path[end - 2] == '/'))))
        end--;
    for (begin = end; begin && path[begin - 1] != '/'; begin--)
        ;
    *name = path + begin;
    *len = end - begin;
    return err ? err : walk_parents(l, path, begin, make, folder);
}

const struct vmctl_inode *vmctl_layers_find(struct vmctl_layers *l, const char *path)
{
    struct vmctl_node *node = l->root;
    const struct vmctl_inode *found = NULL;
    const char *part;
    size_t len;
    struct walk *w = malloc(sizeof *w);
    int err = w ? walk_begin(l, w, path) : -ENOMEM;
    while (!err && node && walk_next(w, &part, &len)) {
        if (part_is(part, len, "..")) {
            node = node->parent ? node->parent : l->root;
            continue;
        }
        struct vmctl_node *next = vmctl_layers_child(l, node, part, len);
        if (next && !S_ISDIR(next->inode->mode) && !S_ISLNK(next->inode->mode) && walk_is_last(w)) {
            found = next->inode;
            break;
        }
        char name[VMCTL_LAYERS_PATH + 1];
        memcpy(name, part, len < sizeof name ? len : 0);
        err = walk_step(l, w, path, name, len < sizeof name ? len : 0, false, &node);
    }
    free(w);
    return found;
}
