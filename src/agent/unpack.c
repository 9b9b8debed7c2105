/* Unpacks an archive into a staging folder beside the copy's destination, and renames the files when all have come. */
#include "agent/unpack.h"

#include "io/fs_root.h"
#include "wire/error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAILED = 2, PIECE = 256 * 1024, ARGUMENTS = 9 };

static volatile sig_atomic_t told_to_end;

static void on_signal(int number)
{
    (void)number;
    told_to_end = 1;
}

/* Signals only interrupt a read; the staged files are then removed. */
static void catch_signals(void)
{
    const struct sigaction end = { .sa_handler = on_signal };
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
    sigaction(SIGINT, &end, NULL);
}

/* Where the copy goes */

static int make_folders(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return vmctl_unpack_fail(path, "Cannot create the folder", ENAMETOOLONG);
    for (size_t i = 1; i <= len; i++) {
        struct stat st;
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (stat(part, &st) == 0 && S_ISDIR(st.st_mode))
            continue;
        if (mkdir(part, 0777) < 0 && errno != EEXIST) {
            fprintf(stderr, "mkdir: %s: %s\n", part, strerror(errno));
            return -1;
        }
    }
    return 0;
}

static int enter(const char *path)
{
    return chdir(path) < 0 ? vmctl_unpack_fail(path, "Cannot enter the folder", errno) : 0;
}

static int send_answer(void)
{
    return fflush(stdout) == 0 ? 0 : vmctl_unpack_fail("the answer", "Cannot write", errno);
}

/* Prints the answer, as the script does: the type of the destination; the kind of tar; if the name is a folder; where files are staged. */
static int choose(struct vmctl_unpack *u, char **argv)
{
    struct stat st;
    bool there = stat(argv[0], &st) == 0, folder = there && S_ISDIR(st.st_mode);
    puts(folder ? "directory" : there && S_ISREG(st.st_mode) ? "file" : there ? "other" : lstat(argv[0], &st) == 0 ? "link" : "none");
    u->name = folder ? argv[2] : argv[4];
    if ((there && !folder && !S_ISREG(st.st_mode)) || !*u->name)
        exit(send_answer() == 0 ? 0 : FAILED);
    const char *in = folder ? argv[1] : argv[3];
    if (send_answer() < 0 || make_folders(in) < 0 || enter(in) < 0)
        return -1;
    folder = stat(u->name, &st) == 0 && S_ISDIR(st.st_mode);
    if (folder && enter(u->name) < 0)
        return -1;
    if (!getcwd(u->base, sizeof u->base))
        return vmctl_unpack_fail(in, "Cannot find its full path", errno);
    const char *slash = strcmp(u->base, "/") == 0 ? "" : "/";
    int n = folder ? snprintf(u->top, sizeof u->top, "%s", u->base)
                   : snprintf(u->top, sizeof u->top, "%s%s%s", u->base, slash, u->name);
    if (n < 0 || (size_t)n >= sizeof u->top)
        return vmctl_unpack_fail(u->name, "Cannot enter the folder", ENAMETOOLONG);
    printf("vmctl\n%s\n%s", folder ? "folder" : "other", u->base);
    putchar('\0');
    return send_answer();
}

/* Archives */

static int feed(struct vmctl_tar *t, int fd)
{
    static uint8_t bytes[PIECE];
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (told_to_end)
            return vmctl_unpack_fail("the archive", "it is given up", 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vmctl_unpack_fail("the archive", "Cannot read", errno);
        int err = n > 0 ? vmctl_tar_feed(t, bytes, (size_t)n) : vmctl_tar_end(t);
        if (err == -EPROTO || err == VMCTL_ETOOBIG || err == -ENOMEM)
            return vmctl_unpack_fail("the archive", t->why ? t->why : "it cannot be read", err == -ENOMEM ? ENOMEM : 0);
        if (err || n == 0)
            return err;
    }
}

static int read_archive(struct vmctl_unpack *u, int fd, bool folders)
{
    static struct vmctl_tar t;
    struct vmctl_tar_visitor visitor;
    if (folders)
        vmctl_unpack_folders(u, &visitor);
    else
        vmctl_unpack_files(u, &visitor);
    vmctl_tar_open(&t, &visitor);
    int rc = feed(&t, fd);
    vmctl_tar_close(&t);
    return rc;
}

/* Staging */

static int remove_stage(const struct vmctl_unpack *u)
{
    struct vmctl_root root;
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", u->base, u->stage) >= sizeof path)
        return -1;
    int err = vmctl_root_open("/", false, &root);
    if (!err) {
        err = vmctl_root_remove_all(&root, path);
        close(root.fd);
    }
    return err ? vmctl_unpack_fail(u->stage, "Cannot remove", -err) : 0;
}

static int unpack_staged(struct vmctl_unpack *u, int *folders)
{
    char from[PATH_MAX];
    int rc = read_archive(u, STDIN_FILENO, false);
    if (u->fd >= 0)
        close(u->fd);
    if (u->folder_fd >= 0)
        close(u->folder_fd);
    if (rc < 0)
        return -1;
    if ((size_t)snprintf(from, sizeof from, "%s/t/%s", u->stage, u->name) >= sizeof from)
        return vmctl_unpack_fail(u->name, "Cannot rename", ENAMETOOLONG);
    *folders = openat(u->stage_fd, "folders", O_RDONLY | O_CLOEXEC);
    return vmctl_unpack_place(u, from, u->top);
}

/* Folders get their modes and times last: a file that comes into one changes them, or cannot come. */
static int set_folders(struct vmctl_unpack *u, int folders)
{
    if (folders < 0)
        return 0;
    return enter(u->top) < 0 ? -1 : read_archive(u, folders, true);
}

/* A folder with the set-group-id bit gives its own group to what is made in it. */
static void learn_owner(struct vmctl_unpack *u)
{
    struct stat st;
    if (fstat(u->stage_fd, &st) == 0 && !(st.st_mode & S_ISGID)) {
        u->uid = geteuid();
        u->gid = getegid();
    }
}

static int run(struct vmctl_unpack *u)
{
    int folders = -1;
    if (mkdir(u->stage, 0700) < 0)
        return vmctl_unpack_fail(u->stage, "Cannot create the folder", errno);
    u->stage_fd = open(u->stage, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    learn_owner(u);
    int rc = u->stage_fd < 0 || mkdirat(u->stage_fd, "t", 0700) < 0 ? vmctl_unpack_fail(u->stage, "Cannot open", errno)
                                                                     : unpack_staged(u, &folders);
    if (remove_stage(u) < 0)
        rc = -1;
    return rc < 0 ? -1 : set_folders(u, folders);
}

int vmctl_unpack(int argc, char **argv)
{
    static struct vmctl_unpack u; /* without values of its own: it is large, and would be in the program's file with them */
    if (argc != ARGUMENTS) {
        fputs("vmctl-agent: --unpack PATH FOLDER NAME FOLDER NAME STAGE OWNERS XATTRS SCRIPT\n", stderr);
        return FAILED;
    }
    u.stage_fd = u.folder_fd = u.fd = -1;
    u.uid = (uid_t)-1;
    u.gid = (gid_t)-1;
    u.stage = argv[5];
    u.owners = argv[6][0] == 'p' && geteuid() == 0;
    u.xattrs = argv[7][0];
    u.place = argv[8];
    (void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIECE); /* the agent waits less often; more is not allowed everywhere */
    catch_signals();
    if (choose(&u, argv) < 0)
        return 1;
    return run(&u) < 0 ? FAILED : 0;
}
