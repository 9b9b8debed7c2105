/* Makes the files of an archive in the staging folder, and gives folders their modes and times at the end. */
#include "agent/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { MOST_DEPTH = 500 }; /* of names in a path; fs_root.c removes 512 */

int vmctl_unpack_fail(const char *path, const char *text, int err)
{
    fprintf(stderr, "tar: %s: %s%s%s\n", path, text, err ? ": " : "", err ? strerror(err) : "");
    return -1;
}

/* Opens the folder `path[0..len)` below the staging folder. No link is followed. */
static int open_folder(const struct vmctl_unpack *u, const char *path, size_t len)
{
    char name[NAME_MAX + 1];
    int fd = fcntl(u->stage_fd, F_DUPFD_CLOEXEC, 0);
    for (size_t at = 0; fd >= 0 && at < len;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t n = slash ? (size_t)(slash - path) - at : len - at;
        if (n > NAME_MAX || (n == 2 && memcmp(path + at, "..", 2) == 0)) {
            close(fd);
            errno = EINVAL;
            return -1;
        }
        memcpy(name, path + at, n);
        name[n] = '\0';
        at += n + 1;
        if (n == 0)
            continue;
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int err = errno;
        close(fd);
        errno = err;
        fd = next;
    }
    return fd;
}

/* The folder of a path, which stays open for the next file in it. `name`: the last name of the path. -1: it is none. */
static int parent_of(struct vmctl_unpack *u, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    *name = slash ? slash + 1 : path;
    if (!**name || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 || len >= sizeof u->folder) {
        errno = EINVAL;
        return -1;
    }
    if (u->folder_fd >= 0 && strlen(u->folder) == len && memcmp(u->folder, path, len) == 0)
        return u->folder_fd;
    if (u->folder_fd >= 0)
        close(u->folder_fd);
    u->folder_fd = open_folder(u, path, len);
    memcpy(u->folder, path, len);
    u->folder[len] = '\0';
    return u->folder_fd;
}

/* Attributes */

/* Sets attributes of an open file, or, with `fd` -1, of the file at the path. */
static int add_xattrs(const struct vmctl_xattrs *all, int fd, const char *path)
{
    struct vmctl_xattr x;
    char name[VMCTL_XATTR_NAME + 1];
    for (size_t at = 0; vmctl_xattrs_next(all, &at, &x) > 0;) {
        snprintf(name, sizeof name, "%.*s", (int)x.name_len, x.name);
        int rc = fd >= 0 ? fsetxattr(fd, name, x.value, x.value_len, 0) : setxattr(path, name, x.value, x.value_len, 0);
        if (rc < 0)
            return vmctl_unpack_fail(path, name, errno);
    }
    return 0;
}

static void times_of(const struct vmctl_tar_entry *e, struct timespec times[2])
{
    times[0] = times[1] = (struct timespec){ .tv_sec = (time_t)e->mtime, .tv_nsec = (long)e->nsec };
}

static bool has_other_owner(const struct vmctl_unpack *u, const struct vmctl_tar_entry *e)
{
    return u->owners && (e->uid != u->uid || e->gid != u->gid);
}

/* Sets a file's attributes: the owner first, since that removes privileges, and the time last. */
static int finish_file(const struct vmctl_unpack *u)
{
    const struct vmctl_tar_entry *e = &u->entry;
    struct timespec times[2];
    times_of(e, times);
    if (u->hole && ftruncate(u->fd, (off_t)u->at) < 0)
        return vmctl_unpack_fail(u->path, "Cannot write", errno);
    if (has_other_owner(u, e) && fchown(u->fd, e->uid, e->gid) < 0)
        return vmctl_unpack_fail(u->path, "Cannot change its owner", errno);
    if (fchmod(u->fd, e->mode & 07777) < 0)
        return vmctl_unpack_fail(u->path, "Cannot change its mode", errno);
    if (add_xattrs(&u->attributes, u->fd, u->path) < 0)
        return -1;
    return futimens(u->fd, times) < 0 ? vmctl_unpack_fail(u->path, "Cannot change its time", errno) : 0;
}

static int on_end(void *ctx)
{
    struct vmctl_unpack *u = ctx;
    int rc = finish_file(u);
    if (close(u->fd) < 0 && rc == 0)
        rc = vmctl_unpack_fail(u->path, "Cannot write", errno);
    u->fd = -1;
    vmctl_xattrs_free(&u->attributes);
    u->attributes = (struct vmctl_xattrs){ 0 };
    return rc;
}

/* Entries */

static int make_link(struct vmctl_unpack *u, const struct vmctl_tar_entry *e, int at, const char *name)
{
    struct timespec times[2];
    times_of(e, times);
    if (symlinkat(e->target, at, name) < 0)
        return vmctl_unpack_fail(e->path, "Cannot create the link", errno);
    if (has_other_owner(u, e) && fchownat(at, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return vmctl_unpack_fail(e->path, "Cannot change its owner", errno);
    if (utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return vmctl_unpack_fail(e->path, "Cannot change its time", errno);
    return 0;
}

static int make_hard_link(struct vmctl_unpack *u, const struct vmctl_tar_entry *e, int at, const char *name)
{
    const char *slash = strrchr(e->target, '/'), *from = slash ? slash + 1 : e->target;
    int folder = open_folder(u, e->target, slash ? (size_t)(slash - e->target) : 0);
    int rc = folder < 0 ? -1 : linkat(folder, from, at, name, 0), err = errno;
    if (folder >= 0)
        close(folder);
    return rc < 0 ? vmctl_unpack_fail(e->path, "Cannot create the hard link", err) : 0;
}

static int begin_file(struct vmctl_unpack *u, const struct vmctl_tar_entry *e, int at, const char *name)
{
    snprintf(u->path, sizeof u->path, "%s", e->path);
    u->entry = *e;
    u->at = 0;
    u->hole = false;
    if (u->xattrs && e->xattrs && vmctl_xattrs_copy(&u->attributes, e->xattrs) != 0)
        return vmctl_unpack_fail(e->path, "Cannot open", ENOMEM);
    u->fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return u->fd < 0 ? vmctl_unpack_fail(e->path, "Cannot open", errno) : 0;
}

static void without_slash(const char *path, char out[PATH_MAX])
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    snprintf(out, PATH_MAX, "%.*s", (int)len, path);
}

/* The staged files can be removed again, and folders be merged by a function that calls itself. */
static bool lies_too_deep(const char *path)
{
    int depth = 0;
    for (; *path; path++)
        depth += *path == '/' && path[1] != '/';
    return depth > MOST_DEPTH;
}

/* Folders have the mode 0700 until they are filled. */
static int on_entry(void *ctx, const struct vmctl_tar_entry *e)
{
    struct vmctl_unpack *u = ctx;
    char path[PATH_MAX];
    const char *name;
    without_slash(e->path, path);
    if (lies_too_deep(path))
        return vmctl_unpack_fail(e->path, "It lies too deep", 0);
    int at = parent_of(u, path, &name);
    if (at < 0)
        return vmctl_unpack_fail(e->path, "Cannot open its folder", errno);
    switch (e->kind) {
    case VMCTL_TAR_FILE: return begin_file(u, e, at, name);
    case VMCTL_TAR_LINK: return make_hard_link(u, e, at, name);
    case VMCTL_TAR_SYMLINK: return make_link(u, e, at, name);
    case VMCTL_TAR_FOLDER: return mkdirat(at, name, 0700) < 0 ? vmctl_unpack_fail(e->path, "Cannot create the folder", errno) : 0;
    default: return vmctl_unpack_fail(e->path, "It is a device or a FIFO", 0);
    }
}

static int on_data(void *ctx, const void *bytes, size_t len)
{
    struct vmctl_unpack *u = ctx;
    const char *from = bytes;
    while (len > 0) {
        ssize_t n = write(u->fd, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vmctl_unpack_fail(u->path, "Cannot write", errno);
        from += n;
        len -= (size_t)n;
        u->at += (uint64_t)n;
    }
    u->hole = false;
    return 0;
}

static int on_hole(void *ctx, uint64_t len)
{
    struct vmctl_unpack *u = ctx;
    u->hole = true;
    u->at += len;
    return lseek(u->fd, (off_t)u->at, SEEK_SET) < 0 ? vmctl_unpack_fail(u->path, "Cannot write", errno) : 0;
}

/* Folders */

static int on_folder(void *ctx, const struct vmctl_tar_entry *e)
{
    const struct vmctl_unpack *u = ctx;
    struct timespec times[2];
    times_of(e, times);
    if (e->kind != VMCTL_TAR_FOLDER)
        return vmctl_unpack_fail(e->path, "It is no folder", 0);
    if (u->owners && fchownat(AT_FDCWD, e->path, e->uid, e->gid, 0) < 0)
        return vmctl_unpack_fail(e->path, "Cannot change its owner", errno);
    if (fchmodat(AT_FDCWD, e->path, e->mode & 07777, 0) < 0)
        return vmctl_unpack_fail(e->path, "Cannot change its mode", errno);
    if (u->xattrs && e->xattrs && add_xattrs(e->xattrs, -1, e->path) < 0)
        return -1;
    if (utimensat(AT_FDCWD, e->path, times, 0) < 0)
        return vmctl_unpack_fail(e->path, "Cannot change its time", errno);
    return 0;
}

static int no_data(void *ctx, const void *bytes, size_t len)
{
    (void)ctx, (void)bytes, (void)len;
    return -1;
}

static int no_hole(void *ctx, uint64_t len)
{
    (void)ctx, (void)len;
    return -1;
}

static int no_end(void *ctx)
{
    (void)ctx;
    return -1;
}

void vmctl_unpack_files(struct vmctl_unpack *u, struct vmctl_tar_visitor *out)
{
    *out = (struct vmctl_tar_visitor){ .ctx = u, .entry = on_entry, .data = on_data, .hole = on_hole, .end = on_end };
}

void vmctl_unpack_folders(struct vmctl_unpack *u, struct vmctl_tar_visitor *out)
{
    *out = (struct vmctl_tar_visitor){ .ctx = u, .entry = on_folder, .data = no_data, .hole = no_hole, .end = no_end };
}
