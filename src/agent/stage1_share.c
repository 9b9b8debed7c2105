/* Stage 1: the folders that the host shares are mounted inside the root, by virtiofs. */
#include "agent/stage1.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

void vmctl_stage1_add_share(struct vmctl_stage1 *s, const char *value)
{
    size_t length = strcspn(value, ",");
    if (s->nshares == STAGE1_SHARES)
        vmctl_stage1_fail(false, "take the share %s: more than %d", value, STAGE1_SHARES);
    struct vmctl_stage1_share *share = &s->shares[s->nshares];
    if (value[length] != ',' || length >= sizeof share->tag)
        vmctl_stage1_fail(false, "take the share %s: TAG,PATH expected", value);
    *share = (struct vmctl_stage1_share){ .read_only = false };
    memcpy(share->tag, value, length);
    char path[STAGE1_TEXT];
    snprintf(path, sizeof path, "%s", value + length + 1);
    char *end = strchr(path, ',');
    share->read_only = end && strcmp(end, ",ro") == 0;
    if (end)
        *end = '\0';
    vmctl_stage1_undo_percent(share->path, sizeof share->path, path);
    s->nshares++;
}

/* The folder and those above it. One that cannot be made is found out by the mount. */
static void make_folders(const char *path)
{
    char part[STAGE1_PATH];
    for (const char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
        (void)mkdir(part, 0755);
    }
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        vmctl_stage1_fail(true, "make the folder %s for a share", path);
}

void vmctl_stage1_mount_shares(const struct vmctl_stage1 *s)
{
    for (size_t i = 0; i < s->nshares; i++) {
        const struct vmctl_stage1_share *share = &s->shares[i];
        make_folders(share->path);
        unsigned long flags = MS_NOSUID | MS_NODEV | (share->read_only ? MS_RDONLY : 0);
        if (mount(share->tag, share->path, "virtiofs", flags, "") < 0)
            vmctl_stage1_fail(errno != ENODEV, "mount the share %s%s", share->path,
                              errno == ENODEV ? ": the kernel has no virtiofs" : "");
    }
}
