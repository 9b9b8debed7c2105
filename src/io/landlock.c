/* Makes sets of rules for Landlock. */
#include "io/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset /* the same numbers on all architectures */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#endif

enum { LANDLOCK_VERSION = 1 << 0, LANDLOCK_PATH_BENEATH = 1 };

/* Actions, as bits of the kernel's interface, and the version that brought each. */
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_FIRST = (1 << 13) - 1, /* these, and removing and making of each kind of file */
    FS_REFER = 1 << 13,       /* version 2 */
    FS_TRUNCATE = 1 << 14,    /* version 3 */
    FS_READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE
};

struct landlock_rules { /* the kernel's landlock_ruleset_attr of version 1 */
    uint64_t handled;
};

struct landlock_path { /* landlock_path_beneath_attr, which is packed */
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

int vmctl_landlock_abi(void)
{
    long version = syscall(SYS_landlock_create_ruleset, (void *)0, (size_t)0, (unsigned)LANDLOCK_VERSION);
    return version < 0 ? -errno : (int)version;
}

static uint64_t landlock_handled(void)
{
    int version = vmctl_landlock_abi();
    uint64_t all = FS_FIRST;
    if (version >= 2)
        all |= FS_REFER;
    if (version >= 3)
        all |= FS_TRUNCATE;
    return all;
}

int vmctl_landlock_new(int *out_fd)
{
    struct landlock_rules rules = { .handled = landlock_handled() };
    long fd = syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0U);
    if (fd < 0)
        return -errno;
    *out_fd = (int)fd;
    return 0;
}

static int landlock_add(int rules, int fd, bool write)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    uint64_t all = landlock_handled();
    struct landlock_path path = { .allowed = write ? all : FS_READ, .parent = fd };
    if (!S_ISDIR(st.st_mode))
        path.allowed &= FS_OF_FILES & all;
    return syscall(SYS_landlock_add_rule, rules, LANDLOCK_PATH_BENEATH, &path, 0U) < 0 ? -errno : 0;
}

int vmctl_landlock_allow(int rules, const char *path, bool write)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = landlock_add(rules, fd, write);
    close(fd);
    return err;
}
