/* Stage 1, inside the root: puts the agent's program into /run, and starts the guest's own init. */
#include "agent/stage1.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORDS = 64 };

#define AGENT "/run/vmctl/agent"
#define UNITS "/run/systemd/system"

/* The agent's unit starts with the first services and outlives all targets: a guest in emergency mode has it, too. */
static const char unit[] = "[Unit]\n"
                           "Description=vmctl's guest agent\n"
                           "DefaultDependencies=no\n"
                           "StartLimitIntervalSec=0\n"
                           "[Service]\n"
                           "ExecStart=" AGENT "\n"
                           "Restart=always\n"
                           "RestartSec=200ms\n"
                           "OOMScoreAdjust=-900\n";

static void make_folder(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        vmctl_stage1_fail(true, "make the folder %s", path);
}

static void write_all(int fd, const char *bytes, size_t size, const char *path)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno != EINTR)
            vmctl_stage1_fail(true, "write %s", path);
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
}

static int create(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        vmctl_stage1_fail(true, "create %s", path);
    return fd;
}

static void finish(int fd, const char *path)
{
    if (close(fd) < 0)
        vmctl_stage1_fail(true, "write %s", path);
}

static void place_agent(int agent)
{
    static char piece[64 * 1024];
    make_folder("/run/vmctl");
    int fd = create(AGENT, 0755);
    ssize_t n;
    while ((n = read(agent, piece, sizeof piece)) > 0)
        write_all(fd, piece, (size_t)n, AGENT);
    if (n < 0)
        vmctl_stage1_fail(true, "read the agent's program");
    finish(fd, AGENT);
}

static void place_unit(void)
{
    make_folder("/run/systemd");
    make_folder(UNITS);
    make_folder(UNITS "/sysinit.target.wants");
    int fd = create(UNITS "/vmctl-agent.service", 0644);
    write_all(fd, unit, sizeof unit - 1, UNITS "/vmctl-agent.service");
    finish(fd, UNITS "/vmctl-agent.service");
    if (symlink("../vmctl-agent.service", UNITS "/sysinit.target.wants/vmctl-agent.service") < 0)
        vmctl_stage1_fail(true, "link %s", UNITS "/sysinit.target.wants/vmctl-agent.service");
}

static const char *find_init(void)
{
    static const char *const places[] = { "/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], X_OK) == 0)
            return places[i];
    }
    vmctl_stage1_fail(false, "find the root's init: neither /sbin/init nor systemd nor /init is a program there; "
                             "init = \"agent\" (--init agent) needs none");
}

static bool is_systemd(const char *init)
{
    char path[PATH_MAX];
    const char *real = realpath(init, path);
    const char *name = real ? strrchr(real, '/') : NULL;
    return name && strcmp(name, "/systemd") == 0;
}

/* Splits "run:WORD,WORD" in place into words, ended by NULL. */
static void split_words(char *text, char *words[WORDS])
{
    size_t n = 0;
    for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
        if (n == WORDS - 1)
            vmctl_stage1_fail(false, "start the init: more than %d words", WORDS - 1);
        words[n++] = word;
    }
    words[n] = NULL;
    if (n == 0)
        vmctl_stage1_fail(false, "start the init: no command");
}

static _Noreturn void become(char *const words[])
{
    execvp(words[0], words);
    vmctl_stage1_fail(true, "start the init %s%s", words[0], errno == ENOEXEC ? " (is it for another architecture?)" : "");
}

static void prepare_run(int agent)
{
    if (mkdir("/run", 0755) < 0 && errno != EEXIST)
        vmctl_stage1_fail(true, "make the folder /run");
    if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
        vmctl_stage1_fail(true, "mount a tmpfs on /run");
    place_agent(agent);
}

static void heed_words(void)
{
    struct vmctl_stage1 s;
    char disk[STAGE1_NAME];
    (void)vmctl_stage1_wanted(&s); /* there is no vmctl.root */
    if (s.read_only) {
        vmctl_stage1_disk("vmctl-root", disk);
        vmctl_stage1_forbid_writing(disk);
    }
    const char *tools = getenv("rootmnt"), *dracut = getenv("NEWROOT"), *root = tools ? tools : dracut;
    if (s.address[0] && !vmctl_stage1_set_address(s.address, root)) /* dracut's initrds have no modules for it */
        fputs("vmctl-agent: no network card yet: its address is for the distribution to ask for\n", stderr);
    if (s.address[0] && !s.read_only && root)
        vmctl_stage1_name_server(s.address, root);
}

/* initramfs-tools mounts /run noexec, hence the mount of its own. */
int vmctl_stage1_place(void)
{
    int agent = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (agent < 0)
        vmctl_stage1_fail(true, "open the agent's program");
    make_folder("/run/vmctl");
    if (mount("vmctl", "/run/vmctl", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=8m") < 0)
        vmctl_stage1_fail(true, "mount a tmpfs on /run/vmctl");
    place_agent(agent);
    close(agent);
    place_unit();
    heed_words();
    return 0;
}

enum vmctl_stage1_end vmctl_stage1_start_init(const char *init, int agent)
{
    static char text[STAGE1_TEXT];
    char *words[WORDS] = { NULL };
    if (strncmp(init, "run:", 4) == 0) {
        snprintf(text, sizeof text, "%s", init + 4);
        split_words(text, words);
        for (char **word = words; *word; word++)
            vmctl_stage1_undo_percent(*word, strlen(*word) + 1, *word);
        setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    } else {
        snprintf(text, sizeof text, "%s", find_init());
        words[0] = text;
    }
    prepare_run(agent);
    if (is_systemd(words[0])) {
        place_unit();
        become(words);
    }
    pid_t keeper = fork();
    if (keeper < 0)
        vmctl_stage1_fail(true, "start the agent's keeper");
    if (keeper > 0)
        become(words);
    setsid();
    return STAGE1_KEEPER;
}
