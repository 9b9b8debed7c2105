/* Lists a tree, a line a path, so that two trees can be compared: lister ROOT [LEFT-OUT]...
 * PATH KIND MODE UID GID SECONDS.NANOSECONDS LINKS FIRST WHAT XATTR=VALUE..., where FIRST is the first path of the same inode, and WHAT a
 * file's size and SHA-256, a link's target or a device's numbers. Folders have no LINKS and no FIRST. Bytes that are no plain letters
 * are %XX. The paths that are left out are below ROOT, and so is all that is in them. */
#define _GNU_SOURCE
#include "wire/sha256.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct seen {
    dev_t dev;
    ino_t ino;
    char *path;
};

static struct seen *seen;
static size_t seen_count;
static char **left_out;
static size_t root_len;

static void die(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

static void put(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        if (p[i] > 32 && p[i] < 127 && p[i] != '%' && p[i] != '=')
            putchar(p[i]);
        else
            printf("%%%02x", p[i]);
}

static const char *first_of(const struct stat *st, const char *path)
{
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i].dev == st->st_dev && seen[i].ino == st->st_ino)
            return seen[i].path;
    seen = realloc(seen, (seen_count + 1) * sizeof *seen);
    seen[seen_count] = (struct seen){ st->st_dev, st->st_ino, strdup(path) };
    return seen[seen_count++].path;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_xattrs(const char *path)
{
    static char names[1 << 16], value[1 << 16], *sorted[4096];
    ssize_t len = llistxattr(path, names, sizeof names);
    size_t n = 0;
    if (len < 0 && errno != EOPNOTSUPP)
        die(path);
    for (char *p = names; len > 0 && p < names + len; p += strlen(p) + 1)
        sorted[n++] = p;
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i < n; i++) {
        ssize_t size = lgetxattr(path, sorted[i], value, sizeof value);
        if (size < 0)
            die(sorted[i]);
        printf(" %s=", sorted[i]);
        put(value, (size_t)size);
    }
}

static void put_content(const char *path, const struct stat *st)
{
    static unsigned char piece[1 << 16];
    unsigned char digest[VMCTL_SHA256_SIZE];
    struct vmctl_sha256 hash;
    int fd = open(path, O_RDONLY | O_NOFOLLOW);
    ssize_t n;
    if (fd < 0)
        die(path);
    vmctl_sha256_init(&hash);
    while ((n = read(fd, piece, sizeof piece)) > 0)
        vmctl_sha256_update(&hash, piece, (size_t)n);
    if (n < 0)
        die(path);
    close(fd);
    vmctl_sha256_digest(&hash, digest);
    printf(" %lld:", (long long)st->st_size);
    for (size_t i = 0; i < sizeof digest; i++)
        printf("%02x", digest[i]);
}

static void put_line(const char *path, const struct stat *st)
{
    static char target[4097];
    char kind = S_ISDIR(st->st_mode) ? 'd' : S_ISREG(st->st_mode) ? 'f' : S_ISLNK(st->st_mode) ? 'l' : S_ISCHR(st->st_mode) ? 'c'
              : S_ISBLK(st->st_mode) ? 'b' : S_ISFIFO(st->st_mode) ? 'p' : '?';
    put(path[root_len] ? path + root_len : "/", strlen(path[root_len] ? path + root_len : "/"));
    printf(" %c %o %u %u %lld.%09ld", kind, st->st_mode & 07777, st->st_uid, st->st_gid, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    if (kind != 'd') {
        const char *first = first_of(st, path);
        printf(" %u ", (unsigned)st->st_nlink);
        put(first + root_len, strlen(first + root_len));
    }
    if (kind == 'f')
        put_content(path, st);
    if (kind == 'c' || kind == 'b')
        printf(" %u,%u", major(st->st_rdev), minor(st->st_rdev));
    if (kind == 'l') {
        ssize_t n = readlink(path, target, sizeof target);
        if (n < 0)
            die(path);
        putchar(' ');
        put(target, (size_t)n);
    }
    put_xattrs(path[0] ? path : "/");
    putchar('\n');
}

static int is_left_out(const char *path)
{
    for (char **p = left_out; *p; p++)
        if (strcmp(path + root_len, *p) == 0)
            return 1;
    return 0;
}

static void list(const char *path)
{
    struct stat st;
    if (lstat(path[0] ? path : "/", &st) < 0)
        die(path);
    put_line(path, &st);
    if (!S_ISDIR(st.st_mode))
        return;
    DIR *dir = opendir(path[0] ? path : "/");
    char **names = NULL;
    size_t n = 0;
    if (!dir)
        die(path);
    for (const struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            names = realloc(names, (n + 1) * sizeof *names);
            names[n++] = strdup(e->d_name);
        }
    closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        char *below;
        if (asprintf(&below, "%s/%s", path, names[i]) < 0)
            die(path);
        if (!is_left_out(below))
            list(below);
        free(below);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    size_t len = strlen(argv[1]);
    while (len && argv[1][len - 1] == '/')
        argv[1][--len] = 0;
    root_len = len;
    left_out = argv + 2;
    list(argv[1]);
    return fflush(stdout) == 0 ? 0 : 1;
}
