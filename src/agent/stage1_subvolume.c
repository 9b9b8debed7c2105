/* Stage 1: the subvolume of a btrfs that has the root, where the default one has none. */
#include "agent/stage1.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { TOP_INODE = 256, TRIED = 1024 }; /* Linux, btrfs_tree.h (uapi): BTRFS_FIRST_FREE_OBJECTID, the inode of a subvolume's top folder */

static bool holds_root(const char *at, const char *name)
{
    char path[STAGE1_NAME + STAGE1_LABEL];
    struct stat st;
    if (strchr(name, ',') || strlen(name) >= STAGE1_LABEL)
        return false; /* it cannot be an option's value, or has no place */
    snprintf(path, sizeof path, "%.63s/%.256s", at, name);
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_ino == TOP_INODE && vmctl_stage1_looks_like_root(path);
}

/* Those of Fedora, of Ubuntu and openSUSE, and of Debian; then any other one. */
static bool find(const char *at, char name[STAGE1_LABEL])
{
    static const char *const usual[] = { "root", "@", "@rootfs" };
    bool found = false;
    for (size_t i = 0; i < sizeof usual / sizeof *usual && !found; i++) {
        found = holds_root(at, usual[i]);
        if (found)
            strcpy(name, usual[i]);
    }
    DIR *dir = found ? NULL : opendir(at);
    const struct dirent *e;
    for (int left = TRIED; dir && !found && left > 0 && (e = readdir(dir)); left--) {
        found = e->d_name[0] != '.' && holds_root(at, e->d_name);
        if (found)
            strcpy(name, e->d_name);
    }
    if (dir)
        closedir(dir);
    return found;
}

bool vmctl_stage1_subvolume(const char *device, const char *at, char name[STAGE1_LABEL])
{
    if (mount(device, at, "btrfs", MS_RDONLY, "subvolid=5") < 0)
        vmctl_stage1_fail(true, "mount %s (btrfs, its top)", device);
    bool found = find(at, name);
    if (umount(at) < 0)
        vmctl_stage1_fail(true, "unmount %s", device);
    return found;
}
