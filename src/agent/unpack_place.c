/* Renames the staged files to their destinations, after a check that all of them can be renamed. */
#include "agent/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CROSSES = 1 }; /* a folder that gets files is on another file system */

/* A link to one is none. */
static bool is_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool below(char out[PATH_MAX], const char *folder, const char *name)
{
    if ((size_t)snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX)
        return true;
    vmctl_unpack_fail(folder, "Cannot rename", ENAMETOOLONG);
    return false;
}

/* Checks that a file or a link may replace the file at `to`: only files and links are replaced. */
static int check_file(const char *to)
{
    struct stat st;
    if (lstat(to, &st) < 0 || S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
        return 0;
    return vmctl_unpack_fail(to, S_ISDIR(st.st_mode) ? "a folder is there" : "It is there, and no regular file", 0);
}

static int step(const char *from, const char *to, bool rename_it, dev_t device);

/* Calls `step` for the entries of a folder. */
static int merge(const char *from, const char *to, bool rename_it, dev_t device)
{
    char from_name[PATH_MAX], to_name[PATH_MAX];
    DIR *dir = opendir(from);
    if (!dir)
        return vmctl_unpack_fail(from, "Cannot open", errno);
    int rc = 0;
    errno = 0;
    for (const struct dirent *d; rc == 0 && (d = readdir(dir)); errno = 0) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        rc = below(from_name, from, d->d_name) && below(to_name, to, d->d_name) ? step(from_name, to_name, rename_it, device) : -1;
    }
    if (rc == 0 && errno)
        rc = vmctl_unpack_fail(from, "Cannot read", errno);
    closedir(dir);
    return rc;
}

static int put(const char *from, const char *to)
{
    if (rename(from, to) == 0)
        return 0;
    return errno == EXDEV ? CROSSES : vmctl_unpack_fail(to, "Cannot rename", errno);
}

/* Checks an entry, or renames it. */
static int step(const char *from, const char *to, bool rename_it, dev_t device)
{
    struct stat st;
    if (!is_folder(from)) {
        int rc = check_file(to);
        return rc == 0 && rename_it ? put(from, to) : rc;
    }
    if (stat(to, &st) == 0 && S_ISDIR(st.st_mode))
        return st.st_dev != device ? CROSSES : merge(from, to, rename_it, device);
    if (lstat(to, &st) == 0)
        return vmctl_unpack_fail(to, "It is there, and no folder", 0);
    return rename_it ? put(from, to) : 0;
}

/* A rename across file systems would be a copy that others see half done: the script stages there again. */
static int place_by_shell(const struct vmctl_unpack *u, const char *from, const char *to)
{
    int status = -1;
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        execlp("sh", "sh", "-c", u->place, "sh", u->stage, from, to, (char *)NULL);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int vmctl_unpack_place(const struct vmctl_unpack *u, const char *from, const char *to)
{
    struct stat st;
    if (fstat(u->stage_fd, &st) < 0)
        return vmctl_unpack_fail(u->stage, "Cannot rename", errno);
    int rc = step(from, to, false, st.st_dev);
    if (rc == 0)
        rc = step(from, to, true, st.st_dev);
    return rc == CROSSES ? place_by_shell(u, from, to) : rc;
}
