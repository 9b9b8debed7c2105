/* Replaces files in folders that others may write to: staged beside the old one, then renamed. */
#include "io/fs_replace.h"

#include "wire/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEMPORARY_NAME = 32, TEMPORARY_TRIES = 16 };

static int replace_open_folder(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int replace_give(int fd, const struct vmctl_fs_attributes *how)
{
    if (!how->own || fchown(fd, how->uid, how->gid) == 0)
        return 0;
    return how->lenient && errno == EPERM ? 0 : -errno;
}

static bool replace_is_empty(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    int entries = 0;
    errno = 0;
    while (readdir(dir))
        entries++;
    bool empty = errno == 0 && entries <= 2; /* "." and ".." */
    closedir(dir);
    return empty;
}

static bool replace_is_ours(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_uid == geteuid();
}

/* Sets owner and mode of a folder that was just made. Somebody who may write to its parent could have replaced it meanwhile: a folder
 * that has entries is not given away, and another user's keeps its mode. Other processes of this user may have put files into it. */
static int replace_dress_folder(int fd, const struct vmctl_fs_attributes *how)
{
    if (how->own ? !replace_is_empty(fd) : !replace_is_ours(fd))
        return -EEXIST;
    int err = replace_give(fd, how);
    if (!err && fchmod(fd, how->folder_mode) < 0)
        err = -errno;
    return err;
}

/* Sets the owner and mode of an existing folder, where they differ. */
static int replace_repair_folder(int fd, const struct vmctl_fs_attributes *how, const struct stat *st, bool *changed)
{
    bool given = !how->own || (st->st_uid == how->uid && st->st_gid == how->gid);
    bool fit = (st->st_mode & 07777) == how->folder_mode;
    int err = given ? 0 : replace_give(fd, how);
    if (!err && !fit && fchmod(fd, how->folder_mode) < 0)
        err = -errno;
    struct stat now;
    if (!err && fstat(fd, &now) < 0)
        err = -errno;
    if (!err && (now.st_uid != st->st_uid || now.st_gid != st->st_gid || now.st_mode != st->st_mode))
        *changed = true;
    return err;
}

static int replace_check_folder(int fd, const struct vmctl_fs_attributes *how, bool *changed)
{
    struct stat st;
    if (!how->own && !how->repair)
        return 0;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (how->repair)
        return replace_repair_folder(fd, how, &st, changed);
    return st.st_uid == how->uid || st.st_uid == geteuid() ? 0 : -EPERM;
}

/* A file system without a disk answers EINVAL. */
static int replace_sync_folder(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

/* One step down. `how` is the last folder's, or has no owner. */
static int replace_step(int at, const char *name, const struct vmctl_fs_attributes *how, int *out_fd, bool *changed)
{
    int err = 0, fd = replace_open_folder(at, name);
    if (fd < 0 && errno == ENOENT) {
        bool made = mkdirat(at, name, 0700) == 0;
        if (!made && errno != EEXIST)
            return -errno;
        fd = replace_open_folder(at, name);
        if (fd >= 0 && made) {
            err = replace_dress_folder(fd, how);
            if (!err)
                err = replace_sync_folder(at);
        }
    }
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? -ENOTDIR : -errno; /* a link gives either */
    if (!err)
        err = replace_check_folder(fd, how, changed);
    if (err) {
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

int vmctl_fs_enter(const char *base, const char *path, const struct vmctl_fs_attributes *how, int *out_fd, bool *changed)
{
    const struct vmctl_fs_attributes above = { .folder_mode = how->folder_mode };
    char copy[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof copy)
        return -ENAMETOOLONG;
    memcpy(copy, path, len + 1);
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    char *rest = copy + strspn(copy, "/");
    while (*rest) {
        char *name = rest;
        rest += strcspn(rest, "/");
        if (*rest)
            *rest++ = '\0';
        rest += strspn(rest, "/");
        int next = -1, err = strcmp(name, "..") == 0 ? -EINVAL : replace_step(fd, name, *rest ? &above : how, &next, changed);
        close(fd);
        if (err)
            return err;
        fd = next;
    }
    *out_fd = fd;
    return 0;
}

int vmctl_fs_write_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int replace_open_regular(int at, const char *name, struct stat *st)
{
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = fstat(fd, st) < 0 ? -errno : S_ISREG(st->st_mode) ? 0 : -EINVAL;
    if (err)
        close(fd);
    return err ? err : fd;
}

static bool replace_has_bytes(int fd, const char *bytes, size_t len)
{
    char part[4096];
    while (len) {
        ssize_t n = read(fd, part, len < sizeof part ? len : sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || memcmp(part, bytes, (size_t)n) != 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool replace_has_owner(const struct stat *st, const struct vmctl_fs_attributes *how)
{
    if (!how->own || (how->lenient && st->st_uid == geteuid()))
        return st->st_uid == geteuid();
    return st->st_uid == how->uid && st->st_gid == how->gid;
}

static bool replace_is_same(int folder, const char *name, const char *bytes, size_t len, const struct vmctl_fs_attributes *how)
{
    struct stat st;
    int fd = replace_open_regular(folder, name, &st);
    if (fd < 0)
        return false;
    bool same = (st.st_mode & 07777) == how->mode && st.st_nlink == 1 && (uintmax_t)st.st_size == len &&
                replace_has_owner(&st, how) && replace_has_bytes(fd, bytes, len);
    close(fd);
    return same;
}

static int replace_temporary(int folder, char *name, int *out_fd)
{
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        uint64_t random;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return -EIO;
        snprintf(name, TEMPORARY_NAME, ".vmctl-%016jx", (uintmax_t)random);
        int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) {
            *out_fd = fd;
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

static int replace_fill(int fd, const char *bytes, size_t len, const struct vmctl_fs_attributes *how)
{
    int err = vmctl_fs_write_all(fd, bytes, len);
    if (!err)
        err = replace_give(fd, how);
    if (!err && (fchmod(fd, how->mode) < 0 || fsync(fd) < 0))
        err = -errno;
    return err;
}

/* Refuses to replace devices and the like: a rename would do it. */
static int replace_check_place(int folder, const char *name)
{
    struct stat there;
    if (fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISDIR(there.st_mode))
        return -EISDIR;
    return S_ISREG(there.st_mode) || S_ISLNK(there.st_mode) ? 0 : -EEXIST;
}

int vmctl_fs_write_new(int folder, const char *name, const void *bytes, size_t len, const struct vmctl_fs_attributes *how)
{
    char temporary[TEMPORARY_NAME];
    int fd = -1, err = replace_check_place(folder, name);
    if (!err)
        err = replace_temporary(folder, temporary, &fd);
    if (err)
        return err;
    err = replace_fill(fd, bytes, len, how);
    if (close(fd) < 0 && !err)
        err = -errno;
    if (!err && renameat(folder, temporary, folder, name) < 0)
        err = -errno;
    if (err) {
        unlinkat(folder, temporary, 0);
        return err;
    }
    return replace_sync_folder(folder);
}

int vmctl_fs_replace(int folder, const char *name, const void *bytes, size_t len, const struct vmctl_fs_attributes *how,
                     bool *changed)
{
    bool same = replace_is_same(folder, name, bytes, len, how);
    int err = same ? 0 : vmctl_fs_write_new(folder, name, bytes, len, how);
    if (!err)
        *changed = !same;
    return err;
}

int vmctl_fs_read(const char *path, void *bytes, size_t max, size_t *len)
{
    struct stat st;
    int fd = replace_open_regular(AT_FDCWD, path, &st);
    if (fd < 0)
        return fd;
    size_t have = 0;
    int err = (uintmax_t)st.st_size > max ? VMCTL_ETOOBIG : 0;
    while (!err && have < max) {
        ssize_t n = read(fd, (char *)bytes + have, max - have);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            err = -errno;
        have += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (!err)
        *len = have;
    return err;
}
