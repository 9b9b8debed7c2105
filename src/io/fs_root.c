/* Opens files below a folder that stands for "/", with openat2. */
#include "io/fs_root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { MOST_DEPTH = 512, RACES = 64 };

static bool root_is_whole(int fd)
{
    struct stat ours, real;
    return fstat(fd, &ours) == 0 && stat("/", &real) == 0 && ours.st_dev == real.st_dev && ours.st_ino == real.st_ino;
}

int vmctl_root_open(const char *path, bool strict, struct vmctl_root *root)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *root = (struct vmctl_root){ .fd = fd, .whole = root_is_whole(fd), .strict = strict };
    return 0;
}

/* The kernel fails with EAGAIN if a folder is renamed while it follows a "..". */
static int root_openat2(const struct vmctl_root *root, const char *path, int flags, mode_t mode)
{
    struct open_how how = { .flags = (unsigned)flags, .mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
                            .resolve = root->strict ? RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS : RESOLVE_IN_ROOT };
    if (root->near)
        how.resolve |= RESOLVE_NO_XDEV;
    long fd = -1;
    for (int i = 0; i < RACES; i++) {
        fd = syscall(SYS_openat2, root->fd, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return (int)fd;
}

bool vmctl_fs_is_local(int fd)
{
    static const uint32_t local[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC,     RAMFS_MAGIC,
                                      F2FS_SUPER_MAGIC, MSDOS_SUPER_MAGIC, ISOFS_SUPER_MAGIC, SQUASHFS_MAGIC };
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (local[i] == (uint32_t)fs.f_type)
            return true;
    return false;
}

int vmctl_root_near(const struct vmctl_root *root, struct vmctl_root *near)
{
    if (root->fd < 0)
        return -EBADF;
    if (!vmctl_fs_is_local(root->fd))
        return -EXDEV;
    int fd = fcntl(root->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    *near = *root;
    near->fd = fd;
    near->near = true;
    return 0;
}

/* Tells if a path is neither a file nor a folder, so that its calls may wait. A path that does not exist yet becomes a file. */
static bool root_may_wait(const struct vmctl_root *root, const char *path, int flags)
{
    struct stat st;
    int fd = root_openat2(root, path, O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW), 0);
    if (fd < 0)
        return errno != ENOENT;
    bool other = fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
    close(fd);
    return other;
}

int vmctl_root_openat(const struct vmctl_root *root, const char *path, int flags, mode_t mode, int *out_fd)
{
    if (root->fd < 0)
        return -EBADF;
    flags |= O_CLOEXEC;
    if (!(flags & O_PATH))
        flags |= O_NONBLOCK | O_NOCTTY;
    path += strspn(path, "/");
    if (!*path)
        path = ".";
    bool fresh = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL); /* nothing is there, or it fails */
    if (root->near && !fresh && !(flags & O_PATH) && root_may_wait(root, path, flags))
        return -EXDEV;
    bool plain = root->whole && !root->strict && !root->near;
    int fd = plain ? openat(root->fd, path, flags, mode) : root_openat2(root, path, flags, mode);
    if (fd < 0)
        return -errno;
    *out_fd = fd;
    return 0;
}

int vmctl_root_parent(const struct vmctl_root *root, const char *path, char name[NAME_MAX + 1], int *out_fd)
{
    char above[PATH_MAX];
    size_t end = strlen(path);
    while (end && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start && path[start - 1] != '/')
        start--;
    if (end - start > NAME_MAX || start >= sizeof above)
        return -ENAMETOOLONG;
    memcpy(name, path + start, end - start);
    name[end - start] = '\0';
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    memcpy(above, path, start);
    above[start] = '\0';
    return vmctl_root_openat(root, above, O_PATH | O_DIRECTORY, 0, out_fd);
}

static int root_clear(int at, const char *name, int depth);

static int root_unlink(int at, const char *name, int depth)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int err = root_clear(at, name, depth);
    if (!err && unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        err = -errno;
    return err == -ENOTDIR ? -EPERM : err; /* a file that must not be removed */
}

static int root_clear(int at, const char *name, int depth)
{
    if (depth >= MOST_DEPTH)
        return -ELOOP;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int err = -errno;
        if (fd >= 0)
            close(fd);
        return err == -ENOENT ? 0 : err;
    }
    int err = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            err = -errno; /* 0 at the end of a folder */
        else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            err = root_unlink(fd, entry->d_name, depth + 1);
        if (err || !entry)
            break;
    }
    closedir(dir);
    return err;
}

int vmctl_root_remove_all(const struct vmctl_root *root, const char *path)
{
    char name[NAME_MAX + 1];
    int at, err = vmctl_root_parent(root, path, name, &at);
    if (err)
        return err == -ENOENT ? 0 : err;
    err = root_unlink(at, name, 0);
    close(at);
    return err;
}
