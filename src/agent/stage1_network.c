/* Stage 1: an address for the first network card, where the root may have no program that asks for one. */
#include "agent/stage1.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CARD_LIMIT = 5 }; /* seconds */

static bool find_card(char name[IFNAMSIZ])
{
    DIR *cards = opendir("/sys/class/net");
    bool found = false;
    for (const struct dirent *e; cards && !found && (e = readdir(cards));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "lo") == 0 || strlen(e->d_name) >= IFNAMSIZ)
            continue;
        strcpy(name, e->d_name);
        found = true;
    }
    if (cards)
        closedir(cards);
    return found;
}

static void await_card(char name[IFNAMSIZ])
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    for (int left = CARD_LIMIT * 100; left > 0; left--) {
        if (find_card(name))
            return;
        nanosleep(&pause, NULL);
    }
    vmctl_stage1_fail(false, "find the network card: there is none after %d s (has the kernel virtio_net?)", CARD_LIMIT);
}

static void set(int fd, uint16_t what, struct ifreq *r, uint32_t address)
{
    const struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = address };
    memcpy(&r->ifr_addr, &in, sizeof in);
    if (ioctl(fd, what, r) < 0)
        vmctl_stage1_fail(true, "set the address of %s", r->ifr_name);
}

void vmctl_stage1_set_address(const char *address)
{
    char text[STAGE1_NAME], *comma;
    struct in_addr ip;
    struct ifreq r = { .ifr_flags = 0 };
    snprintf(text, sizeof text, "%s", address);
    comma = strchr(text, ',');
    long bits = comma ? strtol(comma + 1, NULL, 10) : 0;
    if (comma)
        *comma = '\0';
    if (bits < 1 || bits > 30 || inet_pton(AF_INET, text, &ip) != 1)
        vmctl_stage1_fail(false, "take the address %s: IP,BITS expected", address);
    await_card(r.ifr_name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        vmctl_stage1_fail(true, "set the address of %s", r.ifr_name);
    set(fd, SIOCSIFADDR, &r, ip.s_addr);
    set(fd, SIOCSIFNETMASK, &r, htonl(UINT32_MAX << (32 - bits)));
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        vmctl_stage1_fail(true, "bring up %s", r.ifr_name);
    close(fd);
}
