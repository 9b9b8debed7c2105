/* The content of a file for an archive: small ones by one read, large ones straight from the file to the pipe, and of those with holes
 * the parts alone. */
#include "agent/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { CHANGED = 1, FAILED = 2 };
enum { SMALL = 60 * 1024, MOST_PARTS = 20000, NAMES = 64 * 1024, VALUE = 64 * 1024 };

struct part {
    off_t at, len;
};

struct parts {
    struct part *list;
    size_t count, cap;
};

/* Names with line feeds and backslashes as tar writes them: a message is one line. */
void vmctl_pack_say(const char *path, const char *text, int err)
{
    fputs("tar: ", stderr);
    for (const char *c = path; *c; c++) {
        if (*c == '\n' || *c == '\\')
            fputc('\\', stderr);
        fputc(*c == '\n' ? 'n' : *c, stderr);
    }
    fprintf(stderr, ": %s%s%s\n", text, err ? ": " : "", err ? strerror(err) : "");
}

static ssize_t read_some(int fd, void *to, size_t len)
{
    ssize_t n;
    do
        n = read(fd, to, len);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Attributes */

/* "SCHILY.xattr.NAME", where "=" and "%" of the name are written as %3D and %25. */
static void record_xattr(struct vmctl_pack_text *t, const char *name, const void *value, size_t len)
{
    char key[3 * 256 + 16] = "SCHILY.xattr.", *to = key + strlen(key);
    for (size_t i = 0; i < 256 && name[i]; i++)
        to += sprintf(to, name[i] == '=' || name[i] == '%' ? "%%%02X" : "%c", (unsigned char)name[i]);
    vmctl_pack_record(t, key, value, len);
}

int vmctl_pack_xattrs(struct vmctl_pack_text *t, const char *path, int fd)
{
    char *names = malloc(NAMES + VALUE), *value = names ? names + NAMES : NULL;
    ssize_t len = names ? flistxattr(fd, names, NAMES) : -1;
    int err = len < 0 && errno != ENOTSUP ? errno : 0;
    for (const char *name = names; !err && len > 0 && name < names + len; name += strlen(name) + 1) {
        if (strncmp(name, "user.", 5) != 0)
            continue;
        ssize_t size = fgetxattr(fd, name, value, VALUE);
        if (size >= 0)
            record_xattr(t, name, value, (size_t)size);
        else if (errno != ENODATA) /* it has gone meanwhile */
            err = errno;
    }
    free(names);
    if (!err && !t->failed)
        return 0;
    vmctl_pack_say(path, "Cannot get its extended attributes", err ? err : ENOMEM);
    return FAILED;
}

/* Holes */

static bool add_part(struct parts *p, off_t at, off_t len)
{
    if (p->count == p->cap) {
        size_t cap = 2 * p->cap + 64;
        struct part *list = cap > MOST_PARTS ? NULL : realloc(p->list, cap * sizeof *list);
        if (!list)
            return false;
        p->list = list;
        p->cap = cap;
    }
    p->list[p->count++] = (struct part){ at, len };
    return true;
}

/* The parts of a file that are no holes; false: it is to be read as if it had none. */
static bool find_parts(int fd, off_t size, struct parts *p)
{
    off_t sum = 0;
    for (off_t at = 0; at < size;) {
        off_t from = lseek(fd, at, SEEK_DATA);
        if (from < 0 && errno == ENXIO)
            break;
        off_t to = from < 0 ? -1 : lseek(fd, from, SEEK_HOLE);
        if (to < 0)
            return false;
        if (from >= size)
            break;
        if (to > size)
            to = size;
        if (!add_part(p, from, to - from))
            return false;
        sum += to - from;
        at = to;
    }
    bool ends = p->count && p->list[p->count - 1].at + p->list[p->count - 1].len == size;
    return sum < size && (ends || add_part(p, size, 0)); /* readers make the file as long as the last part says */
}

static void write_map(struct vmctl_pack_text *t, const struct parts *p)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%zu\n", p->count);
    vmctl_pack_add(t, line, (size_t)n);
    for (size_t i = 0; i < p->count; i++) {
        n = snprintf(line, sizeof line, "%lld\n%lld\n", (long long)p->list[i].at, (long long)p->list[i].len);
        vmctl_pack_add(t, line, (size_t)n);
    }
    while (t->len % PACK_BLOCK && !t->failed)
        vmctl_pack_add(t, "", 1);
}

static void record_sparse(struct vmctl_pack_text *t, const char *name, off_t size)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)size);
    vmctl_pack_record(t, "GNU.sparse.major", "1", 1);
    vmctl_pack_record(t, "GNU.sparse.minor", "0", 1);
    vmctl_pack_record(t, "GNU.sparse.name", name, strlen(name));
    vmctl_pack_record(t, "GNU.sparse.realsize", digits, strlen(digits));
}

/* Content */

/* Fills the rest of a file that has shrunk with zeros, and reports it: the header with its size is already written. */
static int fill(struct vmctl_pack_out *out, const char *path, uint64_t left, int err)
{
    char said[80];
    snprintf(said, sizeof said, "File shrank by %llu bytes; padding with zeros", (unsigned long long)left);
    if (err == ESRCH) /* of a process that has ended */
        vmctl_pack_say(path, "File removed before we read it", 0);
    else
        vmctl_pack_say(path, err ? "Cannot read" : said, err);
    vmctl_pack_zeros(out, left);
    return err && err != ESRCH ? FAILED : CHANGED;
}

/* Sends bytes by copying, which works with every file. */
static int copy(struct vmctl_pack_out *out, const char *path, int fd, uint64_t left)
{
    while (left > 0) {
        size_t room = PACK_OUT - out->len;
        ssize_t n = read_some(fd, out->bytes + out->len, left < room ? (size_t)left : room);
        if (n <= 0)
            return fill(out, path, left, n < 0 ? errno : 0);
        out->len += (size_t)n;
        left -= (uint64_t)n;
        if (out->len >= PACK_SEND)
            vmctl_pack_flush(out);
    }
    return 0;
}

/* Splices bytes: the pages of the file go into the pipe without a copy. */
static int send_bytes(struct vmctl_pack_out *out, const char *path, int fd, uint64_t left)
{
    if (left < PACK_SEND)
        return copy(out, path, fd, left);
    vmctl_pack_flush(out);
    while (left > 0) {
        ssize_t n = splice(fd, NULL, STDOUT_FILENO, NULL, left < 1 << 30 ? (size_t)left : 1 << 30, SPLICE_F_MORE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EPIPE)
            _exit(FAILED);
        if (n <= 0)
            return copy(out, path, fd, left); /* some files and outputs cannot do it; at the end of the file, copy reports that */
        left -= (uint64_t)n;
    }
    return 0;
}

static int send_parts(struct vmctl_pack_out *out, const char *path, int fd, const struct parts *p)
{
    int status = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (lseek(fd, p->list[i].at, SEEK_SET) < 0)
            return fill(out, path, (uint64_t)p->list[i].len, errno) | status;
        status |= send_bytes(out, path, fd, (uint64_t)p->list[i].len);
    }
    return status;
}

static int pack_sparse(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e, int fd, const struct parts *p, struct vmctl_pack_text *x)
{
    struct vmctl_pack_text map = { 0 };
    struct vmctl_pack_entry stored = *e;
    write_map(&map, p);
    record_sparse(x, e->path, e->st->st_size);
    if (map.failed || x->failed) {
        free(map.bytes);
        vmctl_pack_say(e->path, "Cannot read", ENOMEM);
        return FAILED;
    }
    stored.size = map.len;
    for (size_t i = 0; i < p->count; i++)
        stored.size += (uint64_t)p->list[i].len;
    vmctl_pack_special(out, 'x', "pax", x->bytes, x->len);
    vmctl_pack_header(out, &stored);
    vmctl_pack_write(out, map.bytes, map.len);
    free(map.bytes);
    int status = send_parts(out, e->path, fd, p);
    vmctl_pack_pad(out, stored.size);
    return status;
}

/* Reads a small file before its header is written, which then has the real size, also where the file system reports another one. */
static int pack_small(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e, int fd)
{
    static uint8_t bytes[SMALL];
    struct vmctl_pack_entry is = *e;
    size_t have = 0, want = (size_t)e->size;
    while (have < want) {
        ssize_t n = read_some(fd, bytes + have, want - have);
        if (n < 0 && errno == ESRCH) {
            vmctl_pack_say(e->path, "File removed before we read it", 0);
            return CHANGED;
        }
        if (n < 0) {
            vmctl_pack_say(e->path, "Cannot read", errno);
            return FAILED;
        }
        if (n == 0)
            break;
        have += (size_t)n;
    }
    is.size = have;
    vmctl_pack_header(out, &is);
    vmctl_pack_write(out, bytes, have);
    vmctl_pack_pad(out, have);
    return 0;
}

static int pack_large(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e, int fd)
{
    vmctl_pack_header(out, e);
    int status = send_bytes(out, e->path, fd, e->size);
    vmctl_pack_pad(out, e->size);
    return status;
}

static int pack_content(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e, int fd, struct vmctl_pack_text *x)
{
    struct parts p = { 0 };
    int status;
    bool sparse = e->size > SMALL && (uint64_t)e->st->st_blocks * 512 < e->size;
    if (sparse && find_parts(fd, e->st->st_size, &p)) {
        status = pack_sparse(out, e, fd, &p, x);
        free(p.list);
        return status;
    }
    free(p.list);
    if (sparse && lseek(fd, 0, SEEK_SET) < 0) {
        vmctl_pack_say(e->path, "Cannot read", errno);
        return FAILED;
    }
    if (x->len)
        vmctl_pack_special(out, 'x', "pax", x->bytes, x->len);
    return e->size > SMALL ? pack_large(out, e, fd) : pack_small(out, e, fd);
}

int vmctl_pack_file(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e, int fd, bool xattrs)
{
    struct vmctl_pack_text x = { 0 };
    struct stat now;
    int status = xattrs ? vmctl_pack_xattrs(&x, e->path, fd) : 0;
    if (!status)
        status = pack_content(out, e, fd, &x);
    free(x.bytes);
    if (!status && fstat(fd, &now) == 0 && (now.st_size != e->st->st_size || now.st_mtim.tv_sec != e->st->st_mtim.tv_sec ||
                                             now.st_mtim.tv_nsec != e->st->st_mtim.tv_nsec)) {
        vmctl_pack_say(e->path, "file changed as we read it", 0);
        status = CHANGED;
    }
    return status;
}
