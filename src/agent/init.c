/* The guest agent as PID 1: mounts, modules, the loopback interface, reaping, the end of the machine. */
#include "agent/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SYNC_LIMIT = 10 }; /* seconds */

static void complain(const char *what, const char *name)
{
    fprintf(stderr, "vmctl-agent: %s %s: %s\n", what, name, strerror(errno));
}

static void mount_at(const char *type, const char *path, unsigned long flags, const char *data)
{
    mkdir(path, 0755);
    if (mount(type, path, type, flags, data) < 0 && errno != EBUSY)
        complain("mount", path);
}

static void load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        complain("load", path);
    if (fd >= 0)
        close(fd);
}

static bool is_virtio_device(const char *name, int number)
{
    char path[300];
    int its = -1;
    snprintf(path, sizeof path, "/sys/bus/virtio/devices/%s/device", name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool right = fscanf(file, "%i", &its) == 1 && its == number;
    fclose(file);
    return right;
}

/* True if the machine has a PCI bus, where any device may be plugged in later, or a virtio device of that number. */
static bool may_have(int number)
{
    DIR *pci = opendir("/sys/bus/pci/devices"), *virtio = opendir("/sys/bus/virtio/devices");
    bool found = false;
    for (const struct dirent *e; !found && pci && (e = readdir(pci));)
        found = e->d_name[0] != '.';
    for (const struct dirent *e; !found && virtio && (e = readdir(virtio));)
        found = is_virtio_device(e->d_name, number);
    if (pci)
        closedir(pci);
    if (virtio)
        closedir(virtio);
    return found;
}

void vmctl_init_load(const char *path)
{
    FILE *list = fopen(path, "re");
    if (!list)
        return;
    char line[256];
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = '\0';
        char *number = strchr(line, '\t');
        if (number)
            *number++ = '\0';
        if (line[0] && line[0] != '#' && (!number || may_have(atoi(number))))
            load_module(line);
    }
    fclose(list);
}

static void raise_loopback(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    struct ifreq lo = { .ifr_name = "lo" };
    if (ioctl(fd, SIOCGIFFLAGS, &lo) == 0) {
        lo.ifr_flags = (short)(lo.ifr_flags | IFF_UP | IFF_RUNNING);
        ioctl(fd, SIOCSIFFLAGS, &lo);
    }
    close(fd);
}

void vmctl_init_begin(void)
{
    umask(022);
    mount_at("devtmpfs", "/dev", MS_NOSUID, NULL);
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    for (int i = 0; console >= 0 && i < 3; i++)
        dup2(console, i);
    if (console > 2)
        close(console);
    mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    vmctl_init_load("/etc/vmctl/modules");
}

void vmctl_init_setup(void)
{
    mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666");
    mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_at("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
    if (mkdir("/sys/fs/cgroup", 0755) == 0 || errno == EEXIST) /* for commands: see cgroup.h; a kernel may have none */
        (void)mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    raise_loopback();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    unsetenv("HOME"); /* the kernel says "/"; commands have that of their user, from /etc/passwd */
    if (chdir("/") < 0)
        complain("chdir", "/");
}

/* Syncs all file systems in a child, so that a disk or a share that does not answer cannot prevent the power-off. */
static void sync_within(int seconds)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    pid_t pid = fork();
    if (pid == 0) {
        sync();
        _exit(0);
    }
    for (int left = seconds * 100; pid > 0 && left > 0; left--) {
        if (waitpid(pid, NULL, WNOHANG) != 0) /* done, or reaped by somebody else */
            return;
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "vmctl-agent: %s\n", pid > 0 ? "what was to be written takes too long" : "no process to sync");
}

void vmctl_init_power(char how)
{
    sync_within(SYNC_LIMIT);
    reboot(how == 'r' ? RB_AUTOBOOT : how == 'h' ? (int)RB_HALT_SYSTEM : RB_POWER_OFF);
    if (how == 'o') /* the power cannot be cut here: a reset is the next best end */
        reboot(RB_AUTOBOOT);
    complain("reboot", "the machine");
}

void vmctl_init_stay(int agent)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGUSR1);
    sigaddset(&wanted, SIGUSR2);
    sigaddset(&wanted, SIGTERM);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    for (;;) {
        int status, gone, signal;
        while ((gone = waitpid(-1, &status, WNOHANG)) > 0) {
            if (gone != agent)
                continue;
            fprintf(stderr, "vmctl-agent: ended with status 0x%x: powering off\n", (unsigned)status);
            vmctl_init_power('o');
        }
        if (sigwait(&wanted, &signal) != 0 || signal == SIGCHLD)
            continue;
        vmctl_init_power(signal == SIGTERM ? 'r' : signal == SIGUSR1 ? 'h' : 'o');
    }
}
