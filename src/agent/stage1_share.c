/* Stage 1: the folders that the host shares are mounted inside the root, by virtiofs or 9p. */
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
    share->read_only = end && strncmp(end, ",ro", 3) == 0;
    share->nine = end && strstr(end, ",9p");
    if (end)
        *end = '\0';
    vmctl_stage1_undo_percent(share->path, sizeof share->path, path);
    s->nshares++;
}

/* Makes the folder and those above it. The mount reports a folder that could not be made. */
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

void vmctl_stage1_load_for_shares(const struct vmctl_stage1 *s)
{
    if (s->nshares == 0)
        return;
    vmctl_stage1_load(s->shares[0].nine ? "9p" : "virtiofs"); /* all shares have the same type */
    if (s->shares[0].nine)
        vmctl_stage1_load("9pnet_virtio");
}

void vmctl_stage1_mount_shares(const struct vmctl_stage1 *s)
{
    for (size_t i = 0; i < s->nshares; i++) {
        const struct vmctl_stage1_share *share = &s->shares[i];
        make_folders(share->path);
        unsigned long flags = MS_NOSUID | MS_NODEV | (share->read_only ? MS_RDONLY : 0);
        const char *type = share->nine ? "9p" : "virtiofs";
        if (mount(share->tag, share->path, type, flags, share->nine ? "trans=virtio,version=9p2000.L,msize=262144" : "") < 0)
            vmctl_stage1_fail(errno != ENODEV, "mount the share %s (%s)%s", share->path, type,
                              errno == ENODEV ? ": the kernel has no such file system" : "");
    }
}
