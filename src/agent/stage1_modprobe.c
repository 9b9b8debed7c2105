/* Stage 1 in a distribution's initramfs: loads a module that it lacks from the root, which is mounted already. */
#include "agent/stage1.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MODPROBE_LIMIT = 20 }; /* seconds */

/* The root's own program knows how its modules are packed, and what else they need. */
static _Noreturn void become_modprobe(const char *root, const char *name)
{
    static const char *const places[] = { "/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe", "/usr/bin/modprobe" };
    if (chroot(root) == 0 && chdir("/") == 0) {
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            execl(places[i], "modprobe", name, (char *)NULL);
    }
    fprintf(stderr, "vmctl-agent: load %s by the modprobe of %s: %s\n", name, root, strerror(errno));
    _exit(127);
}

void vmctl_stage1_modprobe(const char *root, const char *name)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    pid_t pid = fork();
    if (pid == 0)
        become_modprobe(root, name);
    for (int left = MODPROBE_LIMIT * 100; pid > 0 && left > 0; left--) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return; /* it has reported its failure itself */
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "vmctl-agent: load %s by the modprobe of %s: %s\n", name, root, pid > 0 ? "it takes too long" : "no process for it");
    if (pid > 0)
        (void)kill(pid, SIGKILL); /* not waited for: it cannot end while it is in the kernel, and init reaps it later */
}
