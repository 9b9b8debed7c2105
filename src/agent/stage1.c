/* Stage 1: from the initramfs into the guest's own root. */
#include "agent/stage1.h"
#include "agent/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum { COMMAND_LINE = 8192 };

#define ROOT "/new"
#define LOWER "/lower"
#define UPPER "/upper"
#define MODULES "/lib/modules/vmctl"
#define READ_AHEAD "256" /* KiB; the kernel's own is 128 */

void vmctl_stage1_fail(bool with_errno, const char *format, ...)
{
    int err = errno;
    va_list args;
    va_start(args, format);
    fputs("vmctl-agent: root: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", with_errno ? ": " : "", with_errno ? strerror(err) : "");
    vmctl_init_power('o');
    for (;;) /* nothing cut the power */
        pause();
}

static void take_word(struct vmctl_stage1 *s, const char *word, bool *wanted)
{
    if (strncmp(word, "vmctl.root=", 11) == 0) {
        *wanted = true;
        s->image = strcmp(word + 11, "image") == 0;
        if (strncmp(word + 11, "disk:", 5) == 0)
            vmctl_stage1_undo_percent(s->which, sizeof s->which, word + 16);
    } else if (strcmp(word, "vmctl.upper=disk") == 0) {
        s->upper_disk = true;
    } else if (strcmp(word, "vmctl.ro") == 0) {
        s->read_only = true;
    } else if (strncmp(word, "vmctl.init=", 11) == 0) {
        snprintf(s->init, sizeof s->init, "%s", word + 11);
    } else if (strncmp(word, "vmctl.folder=", 13) == 0) {
        vmctl_stage1_undo_percent(s->folder, sizeof s->folder, word + 13);
    } else if (strncmp(word, "vmctl.share=", 12) == 0) {
        vmctl_stage1_add_share(s, word + 12);
    } else if (strncmp(word, "vmctl.address=", 14) == 0) {
        snprintf(s->address, sizeof s->address, "%s", word + 14);
    }
}

bool vmctl_stage1_wanted(struct vmctl_stage1 *s)
{
    static char line[COMMAND_LINE];
    *s = (struct vmctl_stage1){ .init = "agent" };
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    line[n > 0 ? n : 0] = '\0';
    bool wanted = false;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
        take_word(s, word, &wanted);
    return wanted;
}

void vmctl_stage1_load(const char *type)
{
    char path[STAGE1_NAME];
    if (strlen(type) < 32 && strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(type)) {
        snprintf(path, sizeof path, "/etc/vmctl/modules.%s", type);
        vmctl_init_load(path);
    }
}

static void folder(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        vmctl_stage1_fail(true, "make the folder %s", path);
}

/* Files of an image are in one piece each: reading further ahead needs fewer requests. A failure costs speed only. */
static void read_ahead(const char *disk)
{
    char path[STAGE1_NAME * 2];
    snprintf(path, sizeof path, "/sys/block/%s/queue/read_ahead_kb", disk);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = write(fd, READ_AHEAD, sizeof READ_AHEAD - 1);
    (void)n;
    close(fd);
}

static void mount_lower(void)
{
    char disk[STAGE1_NAME], device[STAGE1_NAME + 8];
    vmctl_stage1_disk("vmctl-root", disk);
    snprintf(device, sizeof device, "/dev/%s", disk);
    read_ahead(disk);
    vmctl_stage1_load("erofs");
    folder(LOWER);
    if (mount(device, LOWER, "erofs", MS_RDONLY, "") < 0)
        vmctl_stage1_fail(true, "mount the image %s (erofs)", device);
}

static void mount_upper(bool on_disk)
{
    char disk[STAGE1_NAME], device[STAGE1_NAME + 8] = "tmpfs";
    folder(UPPER);
    if (on_disk) {
        vmctl_stage1_disk("vmctl-upper", disk);
        snprintf(device, sizeof device, "/dev/%s", disk);
        vmctl_stage1_load("ext4");
    }
    if (mount(device, UPPER, on_disk ? "ext4" : "tmpfs", MS_NODEV | MS_NOSUID, on_disk ? "" : "mode=0755") < 0)
        vmctl_stage1_fail(true, "mount the upper layer %s (%s)", device, on_disk ? "ext4" : "tmpfs");
    folder(UPPER "/work");
}

/* An image of a single program has none of the folders that file systems are mounted on, and no place for temporary files. Returns how
 * many are missing, which are made if told so. */
static int missing(bool make)
{
    static const char *const names[] = { "dev", "proc", "sys", "run", "tmp" };
    int count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char lower[STAGE1_NAME], upper[STAGE1_NAME];
        struct stat st;
        snprintf(lower, sizeof lower, LOWER "/%s", names[i]);
        if (lstat(lower, &st) == 0)
            continue;
        count++;
        if (!make)
            continue;
        snprintf(upper, sizeof upper, UPPER "/root/%s", names[i]);
        folder(upper);
        if (strcmp(names[i], "tmp") == 0 && chmod(upper, 01777) < 0)
            vmctl_stage1_fail(true, "make the folder /%s", names[i]);
    }
    return count;
}

/* The merged root shows the upper folder's owner, mode and times: a new upper folder gets those of the image's root. */
static void make_upper_root(void)
{
    struct stat st;
    if (mkdir(UPPER "/root", 0755) < 0) {
        if (errno != EEXIST)
            vmctl_stage1_fail(true, "make the upper layer's root");
        return;
    }
    if (stat(LOWER, &st) < 0 || chown(UPPER "/root", st.st_uid, st.st_gid) < 0 || chmod(UPPER "/root", st.st_mode & 07777) < 0)
        vmctl_stage1_fail(true, "give the upper layer's root its owner and mode");
    (void)missing(true);
    const struct timespec times[2] = { st.st_atim, st.st_mtim };
    if (utimensat(AT_FDCWD, UPPER "/root", times, 0) < 0)
        vmctl_stage1_fail(true, "give the upper layer's root its times");
}

static void mount_image(const struct vmctl_stage1 *s)
{
    mount_lower();
    if (s->read_only && !s->upper_disk && missing(false) == 0) { /* nothing is laid over it, which takes time for each file */
        if (mount(LOWER, ROOT, NULL, MS_MOVE, NULL) < 0)
            vmctl_stage1_fail(true, "move the image");
        return;
    }
    mount_upper(s->upper_disk);
    make_upper_root();
    vmctl_stage1_load("overlay");
    if (mount("overlay", ROOT, "overlay", s->read_only ? MS_RDONLY : 0,
              "lowerdir=" LOWER ",upperdir=" UPPER "/root,workdir=" UPPER "/work") < 0)
        vmctl_stage1_fail(true, "mount the overlay on the image");
}

/* Other file systems of the guest are its init's to mount, but its modules are another kernel's. */
static void load_for_fstab(void)
{
    char line[1024], type[32];
    int fd = open(ROOT "/etc/fstab", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    FILE *fstab = fd < 0 ? NULL : fdopen(fd, "r");
    for (int left = 256; fstab && left > 0 && fgets(line, sizeof line, fstab); left--) {
        if (line[0] != '#' && sscanf(line, "%*s %*s %31s", type) == 1)
            vmctl_stage1_load(type);
    }
    if (fstab)
        fclose(fstab);
}

/* The kernel keeps an initramfs in memory for ever. */
static void remove_modules(void)
{
    DIR *dir = opendir(MODULES);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(dir), e->d_name, 0); /* a failure costs memory only */
    }
    if (dir)
        closedir(dir);
}

static void move_into(void)
{
    static const char *const mounts[] = { "/dev", "/proc", "/sys" };
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        char to[STAGE1_NAME];
        snprintf(to, sizeof to, ROOT "%s", mounts[i]);
        if (mkdir(to, 0755) < 0 && errno != EEXIST)
            vmctl_stage1_fail(true, "make the folder %s in the root", mounts[i]);
        if (mount(mounts[i], to, NULL, MS_MOVE, NULL) < 0)
            vmctl_stage1_fail(true, "move %s into the root", mounts[i]);
    }
    if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        vmctl_stage1_fail(true, "move into the root");
}

/* Makes the folder that an image names for its commands, with those above it. A root that cannot be written stays as it is. */
static void make_folders(const char *path)
{
    char part[STAGE1_PATH];
    for (size_t n = 1; path[0] == '/' && path[n - 1]; n++) {
        if (path[n] != '/' && path[n])
            continue;
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return;
    }
}

enum vmctl_stage1_end vmctl_stage1_run(const struct vmctl_stage1 *s)
{
    char disk[STAGE1_NAME];
    folder(ROOT);
    if (s->image) {
        mount_image(s);
    } else {
        vmctl_stage1_disk("vmctl-root", disk);
        vmctl_stage1_mount_disk(s, disk, ROOT);
    }
    bool own = strcmp(s->init, "agent") == 0;
    if (!own)
        load_for_fstab();
    vmctl_stage1_load_for_shares(s);
    if (s->address[0]) {
        vmctl_stage1_load("virtio_net");
        if (!vmctl_stage1_set_address(s->address, NULL))
            vmctl_stage1_fail(false, "find the network card: there is none (has the kernel virtio_net?)");
        if (!s->read_only)
            vmctl_stage1_name_server(s->address, ROOT);
    }
    remove_modules();
    int agent = open("/sbin/vmctl-agent", O_RDONLY | O_CLOEXEC);
    if (agent < 0)
        vmctl_stage1_fail(true, "open the agent's program");
    (void)unlink("/sbin/vmctl-agent"); /* likewise memory */
    move_into();
    make_folders(s->folder);
    vmctl_stage1_mount_shares(s);
    enum vmctl_stage1_end end = own ? STAGE1_AGENT : vmctl_stage1_start_init(s->init, agent);
    close(agent);
    return end;
}
