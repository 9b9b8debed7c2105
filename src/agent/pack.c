/* Walks the files that are to be packed, and writes an entry for each. */
#include "agent/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHANGED = 1, FAILED = 2, DEPTH = 512 };

/* A file with several names, by the first of them. */
struct name {
    dev_t device;
    ino_t inode;
    char *path; /* NULL: the slot is free */
};

struct pack {
    struct vmctl_pack_out out;
    char *path;          /* of the entry at hand, as the archive has it */
    size_t len, cap;
    int depth;
    bool xattrs;
    int status;          /* the worst so far */
    struct name *names;  /* a hash table: a power of two, at most half full */
    size_t name_count, name_cap;
};

static void note(struct pack *p, int status)
{
    if (status > p->status)
        p->status = status;
}

static _Noreturn void no_memory(struct pack *p)
{
    vmctl_pack_say(p->path ? p->path : "", "Cannot read", ENOMEM);
    exit(FAILED);
}

/* Names of a file that has several */

static struct name *name_place(struct name *names, size_t cap, dev_t device, ino_t inode)
{
    uint64_t hash = ((uint64_t)inode ^ (uint64_t)device << 32) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(hash >> 20) & (cap - 1);
    while (names[i].path && (names[i].device != device || names[i].inode != inode))
        i = (i + 1) & (cap - 1);
    return &names[i];
}

static void names_grow(struct pack *p)
{
    size_t cap = p->name_cap ? 2 * p->name_cap : 256;
    struct name *names = calloc(cap, sizeof *names);
    if (!names)
        no_memory(p);
    for (size_t i = 0; i < p->name_cap; i++)
        if (p->names[i].path)
            *name_place(names, cap, p->names[i].device, p->names[i].inode) = p->names[i];
    free(p->names);
    p->names = names;
    p->name_cap = cap;
}

/* The name under which a file has been packed; NULL: this is the first. */
static const char *name_find(const struct pack *p, const struct stat *st)
{
    return p->name_cap ? name_place(p->names, p->name_cap, st->st_dev, st->st_ino)->path : NULL;
}

static void name_keep(struct pack *p, const struct stat *st)
{
    if (2 * p->name_count >= p->name_cap)
        names_grow(p);
    struct name *n = name_place(p->names, p->name_cap, st->st_dev, st->st_ino);
    if (n->path)
        return;
    *n = (struct name){ st->st_dev, st->st_ino, strdup(p->path) };
    if (!n->path)
        no_memory(p);
    p->name_count++;
}

/* The path */

static void path_push(struct pack *p, const char *name)
{
    size_t add = strlen(name), need = p->len + add + 3; /* two slashes and the zero */
    if (need > p->cap) {
        char *grown = realloc(p->path, 2 * need);
        if (!grown)
            no_memory(p);
        p->path = grown;
        p->cap = 2 * need;
    }
    if (p->len)
        p->path[p->len++] = '/';
    memcpy(p->path + p->len, name, add + 1);
    p->len += add;
}

static void path_cut(struct pack *p, size_t len)
{
    p->len = len;
    p->path[len] = '\0';
}

/* Reports why an entry could not be opened. The top must exist. */
static void not_opened(struct pack *p, int err)
{
    bool gone = (err == ENOENT || err == ENOTDIR || err == ELOOP) && p->depth > 0; /* or something else is there now */
    vmctl_pack_say(p->path, gone ? "File removed before we read it" : "Cannot open", gone ? 0 : err);
    note(p, gone ? CHANGED : FAILED);
}

/* Entries */

static void pack_plain(struct pack *p, char type, const struct stat *st, const char *link)
{
    vmctl_pack_header(&p->out, &(struct vmctl_pack_entry){ .path = p->path, .link = link, .type = type, .st = st });
}

static void pack_file(struct pack *p, int at, const char *name)
{
    struct stat st;
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        not_opened(p, fd < 0 ? errno : ENOENT);
        if (fd >= 0)
            close(fd);
        return;
    }
    const char *first = st.st_nlink > 1 ? name_find(p, &st) : NULL;
    if (first) {
        pack_plain(p, '1', &st, first);
    } else {
        int status = vmctl_pack_file(&p->out, &(struct vmctl_pack_entry){ .path = p->path, .type = '0', .st = &st,
                                                                          .size = (uint64_t)st.st_size }, fd, p->xattrs);
        note(p, status);
        if (st.st_nlink > 1 && status == 0)
            name_keep(p, &st);
    }
    close(fd);
}

static void pack_link(struct pack *p, int at, const char *name, const struct stat *st)
{
    char target[8192];
    ssize_t n = readlinkat(at, name, target, sizeof target - 1);
    if (n < 0) {
        not_opened(p, errno);
        return;
    }
    target[n] = '\0';
    pack_plain(p, '2', st, target);
}

static void pack_entry(struct pack *p, int at, const char *name, unsigned char type);

static void pack_names(struct pack *p, DIR *dir)
{
    p->depth++;
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d)
            break;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        size_t len = p->len;
        path_push(p, d->d_name);
        pack_entry(p, dirfd(dir), d->d_name, d->d_type);
        path_cut(p, len);
    }
    p->depth--;
    if (errno)
        not_opened(p, errno);
}

/* The name of a folder ends in a slash. */
static void pack_folder_head(struct pack *p, const struct stat *st, int fd)
{
    struct vmctl_pack_text x = { 0 };
    size_t len = p->len;
    if (p->xattrs)
        note(p, vmctl_pack_xattrs(&x, p->path, fd));
    if (x.len)
        vmctl_pack_special(&p->out, 'x', "pax", x.bytes, x.len);
    free(x.bytes);
    memcpy(p->path + len, "/", 2);
    pack_plain(p, '5', st, NULL);
    path_cut(p, len);
}

static void pack_folder(struct pack *p, int at, const char *name)
{
    struct stat st;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 || fstat(fd, &st) < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        not_opened(p, errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    pack_folder_head(p, &st, fd);
    if (p->depth < DEPTH)
        pack_names(p, dir);
    else
        not_opened(p, EMFILE);
    closedir(dir);
}

static char type_of(mode_t mode)
{
    return S_ISFIFO(mode) ? '6' : S_ISCHR(mode) ? '3' : S_ISBLK(mode) ? '4' : 's';
}

/* `type`: as the folder has it; files and folders are asked when they are open. */
static void pack_entry(struct pack *p, int at, const char *name, unsigned char type)
{
    struct stat st;
    if (type == DT_REG || type == DT_DIR) {
        (type == DT_REG ? pack_file : pack_folder)(p, at, name);
    } else if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        not_opened(p, errno);
    } else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        (S_ISREG(st.st_mode) ? pack_file : pack_folder)(p, at, name);
    } else if (S_ISLNK(st.st_mode)) {
        pack_link(p, at, name, &st);
    } else {
        pack_plain(p, type_of(st.st_mode), &st, NULL);
    }
}

/* Prints a line with the type of a path. True if it can be packed. */
static bool tell_type(struct vmctl_pack_out *out, const char *path)
{
    struct stat st;
    bool there = lstat(path, &st) == 0;
    const char *type = !there ? "none\n" : S_ISLNK(st.st_mode) ? "link\n" : S_ISDIR(st.st_mode) ? "directory\n"
                       : S_ISREG(st.st_mode) ? "file\n" : "other\n";
    vmctl_pack_write(out, type, strlen(type));
    vmctl_pack_flush(out); /* the host looks at that while the rest is read */
    return there && (S_ISLNK(st.st_mode) || S_ISDIR(st.st_mode) || S_ISREG(st.st_mode));
}

int vmctl_pack(int argc, char **argv)
{
    static struct pack p;
    if (argc < 3) {
        fputs("vmctl-agent: --pack PATH FOLDER NAME [xattrs]\n", stderr);
        return FAILED;
    }
    if (!tell_type(&p.out, argv[0]))
        return 0;
    p.xattrs = argc > 3 && argv[3][0];
    if (chdir(argv[1]) < 0) {
        vmctl_pack_say(argv[1], "Cannot open", errno);
        return FAILED;
    }
    path_push(&p, argv[2]);
    pack_entry(&p, AT_FDCWD, argv[2], DT_UNKNOWN);
    vmctl_pack_zeros(&p.out, 2 * PACK_BLOCK);
    vmctl_pack_flush(&p.out);
    return p.status;
}
