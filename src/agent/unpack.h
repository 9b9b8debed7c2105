/* vmctl-agent --unpack: puts the files of an archive that comes on standard input in their place, for copies to the guest
 * (docs/wire/exec.md). */
#ifndef VMCTL_AGENT_UNPACK_H
#define VMCTL_AGENT_UNPACK_H

#include "wire/tar.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct vmctl_unpack {
    const char *name, *stage, *place; /* of the copy; of the staging folder, in `base`; the script for what crosses file systems */
    char base[PATH_MAX], top[PATH_MAX]; /* where files are staged, and where the copy goes */
    bool owners, xattrs;              /* are kept */
    uid_t uid;                        /* the owner that a new file in the staging folder has; -1: not known */
    gid_t gid;
    int stage_fd;
    char folder[PATH_MAX];            /* the last folder that was written to, below the staging folder, and its fd */
    int folder_fd;
    int fd;                           /* of the file that is being written; -1: none */
    uint64_t at;                      /* its offset */
    bool hole;                        /* before that there is a hole, and no byte behind it yet */
    struct vmctl_tar_entry entry;     /* what it gets at its end; its texts are not there, and its path and attributes are these: */
    char path[PATH_MAX];
    struct vmctl_xattrs attributes;
};

/* The arguments behind --unpack: those of vmctl.files.exec_scripts' UNPACK, and PLACE_ALL. The exit status: 0, or 1 or 2 after a failure,
 * which standard error has: then the staged files are removed. */
int vmctl_unpack(int argc, char **argv);

/* unpack_files.c. Visitors of an archive: one makes its files, the other sets the attributes of folders below the working folder. After a
 * failure they print its reason, and return a negative number. */
void vmctl_unpack_files(struct vmctl_unpack *u, struct vmctl_tar_visitor *out);
void vmctl_unpack_folders(struct vmctl_unpack *u, struct vmctl_tar_visitor *out);
/* "tar: PATH: TEXT", and with `err` the system's words for that. Returns -1. */
int vmctl_unpack_fail(const char *path, const char *text, int err);

/* unpack_place.c. Renames the staged `from` to `to`; an existing folder gets it file by file. 0 or -1. */
int vmctl_unpack_place(const struct vmctl_unpack *u, const char *from, const char *to);

#endif
