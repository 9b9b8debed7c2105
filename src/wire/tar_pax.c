/* Records of pax headers: "LENGTH KEY=VALUE\n". */
#include "wire/error.h"
#include "wire/tar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int pax_bad(struct vmctl_tar *t, const char *why)
{
    t->why = why;
    return -EPROTO;
}

int vmctl_tar_text_set(struct vmctl_tar_text *to, const void *bytes, size_t len)
{
    if (len >= to->cap) {
        char *grown = realloc(to->bytes, len + 1);
        if (!grown)
            return -ENOMEM;
        to->bytes = grown;
        to->cap = len + 1;
    }
    if (len)
        memcpy(to->bytes, bytes, len);
    to->bytes[len] = 0;
    to->len = len;
    return 0;
}

void vmctl_tar_pax_clear(struct vmctl_tar *t)
{
    struct vmctl_tar_pax *p = &t->pax, kept = *p;
    kept.xattrs.len = 0;
    *p = (struct vmctl_tar_pax){ .path = kept.path, .link = kept.link, .name = kept.name, .xattrs = kept.xattrs };
    t->piece_count = 0;
}

static int pax_name(struct vmctl_tar *t, struct vmctl_tar_text *to, bool *has, const char *value, size_t len)
{
    if (memchr(value, 0, len))
        return pax_bad(t, "a name with a zero byte in it");
    *has = len > 0; /* an empty one cancels the value of a global header */
    return vmctl_tar_text_set(to, value, len);
}

static int pax_integer(struct vmctl_tar *t, uint64_t *to, bool *has, const char *value, size_t len)
{
    *has = true;
    return vmctl_tar_decimal(value, len, to) ? 0 : pax_bad(t, "a number in a pax header that is none");
}

/* Form 0.1: all numbers in one record, with commas. */
static int pax_map(struct vmctl_tar *t, const char *value, size_t len)
{
    uint64_t numbers[2];
    size_t n = 0;
    t->piece_count = 0;
    t->pax.sparse = 1;
    while (len) {
        const char *comma = memchr(value, ',', len);
        size_t part = comma ? (size_t)(comma - value) : len;
        if (!vmctl_tar_decimal(value, part, &numbers[n]))
            return pax_bad(t, "a sparse file's map that is none");
        n = !n;
        int err = n ? 0 : vmctl_tar_piece_add(t, numbers[0], numbers[1]);
        if (err)
            return err;
        part += comma != NULL;
        value += part;
        len -= part;
    }
    return n ? pax_bad(t, "a sparse file's map that ends early") : 0;
}

/* Form 0.0: a record for each number. */
static int pax_piece(struct vmctl_tar *t, const char *value, size_t len)
{
    uint64_t bytes;
    t->pax.sparse = 1;
    if (!vmctl_tar_decimal(value, len, &bytes))
        return pax_bad(t, "a sparse file's map that is none");
    return vmctl_tar_piece_add(t, t->pax.offset, bytes);
}

static int pax_sparse(struct vmctl_tar *t, const char *key, const char *value, size_t len)
{
    bool ignored;
    struct vmctl_tar_pax *p = &t->pax;
    if (strcmp(key, "major") == 0) {
        p->sparse = len == 1 && value[0] == '1' ? 2 : p->sparse;
        return 0;
    }
    if (strcmp(key, "name") == 0)
        return pax_name(t, &p->name, &p->has_name, value, len);
    if (strcmp(key, "realsize") == 0 || strcmp(key, "size") == 0)
        return pax_integer(t, &p->real, &p->has_real, value, len);
    if (strcmp(key, "offset") == 0)
        return pax_integer(t, &p->offset, &ignored, value, len);
    if (strcmp(key, "numbytes") == 0)
        return pax_piece(t, value, len);
    return strcmp(key, "map") == 0 ? pax_map(t, value, len) : 0;
}

/* GNU tar writes "%" and "=" in names as "%25" and "%3D"; others leave "%" as it is. */
static void pax_unescape(char *name)
{
    char *to = name;
    for (const char *from = name; *from; to++) {
        bool percent = strncmp(from, "%25", 3) == 0;
        bool escaped = percent || strncmp(from, "%3D", 3) == 0;
        *to = !escaped ? *from : percent ? '%' : '=';
        from += escaped ? 3 : 1;
    }
    *to = 0;
}

static int pax_xattr(struct vmctl_tar *t, char *name, const char *value, size_t len)
{
    pax_unescape(name);
    int err = vmctl_xattrs_set(&t->pax.xattrs, name, strlen(name), value, len);
    if (err == VMCTL_ETOOBIG)
        t->why = "extended attributes that are too large";
    return err == -EINVAL ? pax_bad(t, "an extended attribute without a name") : err;
}

static int pax_record(struct vmctl_tar *t, char *key, const char *value, size_t len)
{
    static const char xattr[] = "SCHILY.xattr.", sparse[] = "GNU.sparse.";
    struct vmctl_tar_pax *p = &t->pax;
    if (strncmp(key, xattr, sizeof xattr - 1) == 0)
        return pax_xattr(t, key + sizeof xattr - 1, value, len);
    if (strncmp(key, sparse, sizeof sparse - 1) == 0)
        return pax_sparse(t, key + sizeof sparse - 1, value, len);
    if (strcmp(key, "path") == 0)
        return pax_name(t, &p->path, &p->has_path, value, len);
    if (strcmp(key, "linkpath") == 0)
        return pax_name(t, &p->link, &p->has_link, value, len);
    if (len == 0)
        return 0;
    if (strcmp(key, "size") == 0)
        return pax_integer(t, &p->size, &p->has_size, value, len);
    if (strcmp(key, "uid") == 0)
        return pax_integer(t, &p->uid, &p->has_uid, value, len);
    if (strcmp(key, "gid") == 0)
        return pax_integer(t, &p->gid, &p->has_gid, value, len);
    if (strcmp(key, "mtime") != 0)
        return 0;
    p->has_mtime = true;
    return vmctl_tar_time(value, len, &p->mtime, &p->nsec) ? 0 : pax_bad(t, "a time in a pax header that is none");
}

int vmctl_tar_pax_read(struct vmctl_tar *t, const char *bytes, size_t len)
{
    while (len) {
        char key[1024];
        uint64_t size;
        const char *space = memchr(bytes, ' ', len < 21 ? len : 21);
        if (!space || !vmctl_tar_decimal(bytes, (size_t)(space - bytes), &size) || size > len || size < 5)
            return pax_bad(t, "a pax header with a record that has no length");
        const char *end = bytes + size - 1, *begin = space + 1;
        const char *equal = begin < end ? memchr(begin, '=', (size_t)(end - begin)) : NULL;
        if (*end != '\n' || !equal || memchr(begin, 0, (size_t)(equal - begin)))
            return pax_bad(t, "a pax header with a record that has no key");
        size_t key_len = (size_t)(equal - begin);
        if (key_len < sizeof key) { /* no longer key has a meaning */
            memcpy(key, begin, key_len);
            key[key_len] = 0;
            int err = pax_record(t, key, equal + 1, (size_t)(end - equal - 1));
            if (err)
                return err;
        }
        bytes += size;
        len -= (size_t)size;
    }
    return 0;
}
