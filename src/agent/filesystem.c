/* Recognises the file system of a block device by magic bytes at fixed offsets. */
#include "agent/stage1.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct mark {
    const char *type, *look_options; /* NULL: it is no file system; `type` is its name in messages */
    off_t at;
    const char *bytes;
    size_t size;
    off_t label, uuid; /* 0: it has none */
    size_t label_size;
};

/* Linux: fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h, fs/btrfs/btrfs_tree.h (uapi), fs/erofs/erofs_fs.h, fs/squashfs/squashfs_fs.h,
 * include/linux/f2fs_fs.h. ext4, xfs and f2fs replay their journals when they are mounted read-only, unless they are told not to. */
static const struct mark marks[] = {
    { "ext4", "noload", 1024 + 0x38, "\x53\xef", 2, 1024 + 0x78, 1024 + 0x68, 16 },
    { "xfs", "norecovery", 0, "XFSB", 4, 0x6c, 0x20, 12 },
    { "btrfs", "", 0x10040, "_BHRfS_M", 8, 0x1012b, 0x10020, 256 },
    { "erofs", "", 1024, "\xe2\xe1\xf5\xe0", 4, 1024 + 64, 1024 + 48, 16 },
    { "squashfs", "", 0, "hsqs", 4, 0, 0, 0 },
    { "f2fs", "norecovery", 1024, "\x10\x20\xf5\xf2", 4, 0, 1024 + 108, 0 },
    { "LVM", NULL, 512 + 24, "LVM2 001", 8, 0, 0, 0 },
    { "LUKS", NULL, 0, "LUKS\xba\xbe", 6, 0, 0, 0 },
    { "vfat", "", 0x52, "FAT32   ", 8, 0x47, 0, 11 },
};

static bool read_at(int fd, void *to, size_t size, off_t at)
{
    return pread(fd, to, size, at) == (ssize_t)size;
}

static void read_names(int fd, const struct mark *m, struct vmctl_filesystem *found)
{
    uint8_t id[16];
    if (m->label && m->label_size < sizeof found->label && read_at(fd, found->label, m->label_size, m->label))
        found->label[m->label_size] = '\0';
    if (!m->uuid || !read_at(fd, id, sizeof id, m->uuid))
        return;
    char *out = found->uuid;
    for (int i = 0; i < 16; i++)
        out += sprintf(out, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id[i]);
}

void vmctl_filesystem_probe(const char *device, struct vmctl_filesystem *found)
{
    *found = (struct vmctl_filesystem){ .type = NULL };
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !found->type; i++) {
        char bytes[8];
        if (!read_at(fd, bytes, marks[i].size, marks[i].at) || memcmp(bytes, marks[i].bytes, marks[i].size) != 0)
            continue;
        found->type = marks[i].type;
        found->look_options = marks[i].look_options;
        read_names(fd, &marks[i], found);
    }
    close(fd);
}
