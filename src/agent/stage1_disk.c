/* Stage 1: finds the disk by its serial, and on it the file system that is the root. */
#include "agent/stage1.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Advice at the end of a message. */
#define FIRMWARE "; boot = \"firmware\" (--boot firmware) lets the disk's own loader start it"

enum { DISK_LIMIT = 10, PARTITIONS = 128, TRIED = 512, SYS_PATH = 3 * STAGE1_NAME };

/* The first line of a file below /sys; "" when it cannot be read. */
static void read_line(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static bool find_serial(const char *serial, char name[STAGE1_NAME])
{
    DIR *blocks = opendir("/sys/block");
    bool found = false;
    for (const struct dirent *e; blocks && !found && (e = readdir(blocks));) {
        char path[SYS_PATH + 256], text[STAGE1_NAME];
        if (strlen(e->d_name) >= STAGE1_NAME || e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/sys/block/%s/serial", e->d_name);
        read_line(path, text, sizeof text);
        found = strcmp(text, serial) == 0;
        if (found)
            strcpy(name, e->d_name);
    }
    if (blocks)
        closedir(blocks);
    return found;
}

void vmctl_stage1_disk(const char *serial, char name[STAGE1_NAME])
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    for (int left = DISK_LIMIT * 100; left > 0; left--) {
        if (find_serial(serial, name))
            return;
        nanosleep(&pause, NULL);
    }
    vmctl_stage1_fail(false, "find the disk %s: none has that serial after %d s", serial, DISK_LIMIT);
}

struct part {
    char name[STAGE1_NAME]; /* "vda1" */
    long number;            /* 0: the whole disk */
};

static int by_number(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static size_t list_parts(const char *disk, struct part *parts)
{
    char path[SYS_PATH + 256], text[STAGE1_NAME];
    size_t n = 0;
    parts[n] = (struct part){ .number = 0 };
    strcpy(parts[n++].name, disk);
    snprintf(path, sizeof path, "/sys/block/%s", disk);
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir && n < PARTITIONS && (e = readdir(dir));) {
        if (strlen(e->d_name) >= STAGE1_NAME)
            continue;
        snprintf(path, sizeof path, "/sys/block/%s/%s/partition", disk, e->d_name);
        read_line(path, text, sizeof text);
        if (!text[0])
            continue;
        strcpy(parts[n].name, e->d_name);
        parts[n++].number = strtol(text, NULL, 10);
    }
    if (dir)
        closedir(dir);
    qsort(parts, n, sizeof *parts, by_number);
    return n;
}

/* Tells if a partition has this name in the disk's table, by the kernel's "PARTNAME=". */
static bool has_table_name(const char *disk, const struct part *p, const char *wanted)
{
    char path[SYS_PATH + 16], line[256];
    snprintf(path, sizeof path, "/sys/block/%.63s/%.63s/uevent", disk, p->name);
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "PARTNAME=", 9) == 0 && strcmp(line + 9, wanted) == 0;
    }
    if (file)
        fclose(file);
    return found;
}

static bool is_wanted(const char *disk, const struct part *p, const struct vmctl_filesystem *fs, const char *which)
{
    char *end;
    long number = strtol(which, &end, 10);
    if (*end == '\0')
        return p->number == number;
    return strcmp(fs->label, which) == 0 || strcasecmp(fs->uuid, which) == 0 || has_table_name(disk, p, which);
}

/* Makes the device read-only: a distribution's own init mounts its root again, as its fstab says. */
static void forbid_writing(const struct part *p)
{
    char device[STAGE1_NAME + 8];
    snprintf(device, sizeof device, "/dev/%.63s", p->name);
    int fd = open(device, O_RDONLY | O_CLOEXEC), on = 1;
    if (fd < 0 || ioctl(fd, BLKROSET, &on) < 0)
        vmctl_stage1_fail(true, "make %s read-only", device);
    close(fd);
}

/* 0 or an errno; ENODEV: the kernel has no such file system. */
static int mount_part(const struct part *p, const struct vmctl_filesystem *fs, const char *at, unsigned long flags, const char *how)
{
    char device[STAGE1_NAME + 8];
    snprintf(device, sizeof device, "/dev/%.63s", p->name);
    vmctl_stage1_load(fs->type);
    return mount(device, at, fs->type, flags, how) == 0 ? 0 : errno;
}

/* `subvolume`: "" for the default one. */
static void mount_root(const struct vmctl_stage1 *s, const struct part *p, const struct vmctl_filesystem *fs, const char *at,
                       const char *subvolume)
{
    char how[STAGE1_LABEL + 8] = "";
    if (!fs->look_options)
        vmctl_stage1_fail(false, "mount /dev/%.63s: it is %s, which is not opened here%s", p->name, fs->type, FIRMWARE);
    if (subvolume[0])
        snprintf(how, sizeof how, "subvol=%.256s", subvolume);
    errno = mount_part(p, fs, at, s->read_only ? MS_RDONLY : 0, how);
    if (errno == ENODEV)
        vmctl_stage1_fail(false, "mount /dev/%.63s (%s): the kernel has no such file system%s", p->name, fs->type, FIRMWARE);
    if (errno)
        vmctl_stage1_fail(true, "mount /dev/%.63s (%s%s%s)", p->name, fs->type, how[0] ? ", " : "", how);
    if (s->read_only)
        forbid_writing(p);
}

void vmctl_stage1_forbid_writing(const char *disk)
{
    static struct part parts[PARTITIONS];
    size_t n = list_parts(disk, parts);
    for (size_t i = 0; i < n; i++)
        forbid_writing(&parts[i]);
}

/* Tells if a folder looks like a root: it has one of these. A link is not followed, because it leads elsewhere from here. */
bool vmctl_stage1_looks_like_root(const char *at)
{
    static const char *const signs[] = { "etc/os-release", "usr/lib/os-release", "sbin/init", "usr/lib/systemd/systemd", "etc/passwd" };
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        char path[SYS_PATH];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", at, signs[i]);
        if (lstat(path, &st) == 0)
            return true;
    }
    return false;
}

/* Tells if a partition has a root. `why`: the reason why not, for a message. `subvolume`: the one of a btrfs that has it, if that is not
 * the default one. */
static bool holds_root(const struct part *p, const struct vmctl_filesystem *fs, const char *at, const char **why,
                       char subvolume[STAGE1_LABEL])
{
    char device[STAGE1_NAME + 8];
    snprintf(device, sizeof device, "/dev/%.63s", p->name);
    if (fs->type && !fs->look_options)
        *why = "not opened here";
    if (!fs->look_options || strcmp(fs->type, "vfat") == 0)
        return false;
    int err = mount_part(p, fs, at, MS_RDONLY, fs->look_options);
    *why = err == ENODEV ? "the kernel has not its module" : err ? strerror(err) : "no root in it";
    if (err)
        return false;
    bool found = vmctl_stage1_looks_like_root(at);
    if (umount(at) < 0)
        vmctl_stage1_fail(true, "unmount %s", device);
    return found || (strcmp(fs->type, "btrfs") == 0 && vmctl_stage1_subvolume(device, at, subvolume));
}

/* One that is asked for is the root, whatever is in it; a btrfs is still looked into for its subvolume. */
static bool is_root(const struct vmctl_stage1 *s, const char *disk, const struct part *p, const struct vmctl_filesystem *fs, const char *at,
                    const char **why, char subvolume[STAGE1_LABEL])
{
    if (!s->which[0])
        return holds_root(p, fs, at, why, subvolume);
    if (!is_wanted(disk, p, fs, s->which))
        return false;
    if (fs->type && strcmp(fs->type, "btrfs") == 0)
        (void)holds_root(p, fs, at, why, subvolume);
    return true;
}

void vmctl_stage1_mount_disk(const struct vmctl_stage1 *s, const char *disk, const char *at)
{
    static struct part parts[PARTITIONS];
    char tried[TRIED] = "", subvolume[STAGE1_LABEL] = "";
    size_t n = list_parts(disk, parts), said = 0;
    for (size_t i = 0; i < n; i++) {
        struct vmctl_filesystem fs;
        char device[STAGE1_NAME + 8];
        snprintf(device, sizeof device, "/dev/%.63s", parts[i].name);
        vmctl_filesystem_probe(device, &fs);
        const char *why = "";
        bool wanted = is_root(s, disk, &parts[i], &fs, at, &why, subvolume);
        if (wanted && fs.type) {
            mount_root(s, &parts[i], &fs, at, subvolume);
            return;
        }
        if (wanted)
            vmctl_stage1_fail(false, "mount %s: it holds no file system that is known here%s", device, FIRMWARE);
        if (said < sizeof tried)
            said += (size_t)snprintf(tried + said, sizeof tried - said, "%s%s: %s%s%s", said ? "; " : "", parts[i].name,
                                     fs.type ? fs.type : n > 1 && i == 0 ? "a table" : "nothing known", why[0] ? ", " : "", why);
    }
    if (s->which[0])
        vmctl_stage1_fail(false, "find the partition %s on the disk: no such number, label or UUID (%s)", s->which, tried);
    vmctl_stage1_fail(false, "find the root on the disk: no file system that looks like one (%s)%s", tried, FIRMWARE);
}
