/* Stage 1: an address for the first network card, where the root may have no program that asks for one. */
#include "agent/stage1.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/route.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CARD_LIMIT = 5, NAMES = 4 }; /* seconds; names that a card has one after the other */

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

static bool await_card(char name[IFNAMSIZ], const char *root)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    if (root && !find_card(name))
        vmctl_stage1_modprobe(root, "virtio_net");
    for (int left = CARD_LIMIT * 100; left > 0; left--) {
        if (find_card(name))
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static struct sockaddr_in inet(uint32_t address)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = address };
}

/* False: the card has another name by now, which is udev's. */
static bool change(int fd, unsigned long what, struct ifreq *r)
{
    if (ioctl(fd, what, r) == 0)
        return true;
    if (errno != ENODEV)
        vmctl_stage1_fail(true, "set the address of %s", r->ifr_name);
    return false;
}

static bool set(int fd, unsigned long what, struct ifreq *r, uint32_t address)
{
    const struct sockaddr_in in = inet(address);
    memcpy(&r->ifr_addr, &in, sizeof in);
    return change(fd, what, r);
}

static bool bring_up(int fd, struct ifreq *r, uint32_t address, uint32_t mask)
{
    if (!set(fd, SIOCSIFADDR, r, address) || !set(fd, SIOCSIFNETMASK, r, mask))
        return false;
    r->ifr_flags = IFF_UP | IFF_RUNNING;
    return change(fd, SIOCSIFFLAGS, r);
}

static void add_route(int fd, const char *gateway)
{
    struct in_addr ip;
    if (inet_pton(AF_INET, gateway, &ip) != 1)
        vmctl_stage1_fail(false, "take the gateway %s: an address expected", gateway);
    const struct sockaddr_in to = inet(ip.s_addr), any = inet(0);
    struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
    memcpy(&route.rt_gateway, &to, sizeof to);
    memcpy(&route.rt_dst, &any, sizeof any);
    memcpy(&route.rt_genmask, &any, sizeof any);
    if (ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST)
        vmctl_stage1_fail(true, "add a route by %s", gateway);
}

bool vmctl_stage1_set_address(const char *address, const char *root)
{
    char text[STAGE1_NAME];
    struct in_addr ip;
    struct ifreq r = { .ifr_flags = 0 };
    snprintf(text, sizeof text, "%s", address);
    char *rest = text, *first = strsep(&rest, ","), *size = strsep(&rest, ","), *gateway = strsep(&rest, ",");
    long bits = size ? strtol(size, NULL, 10) : 0;
    if (bits < 1 || bits > 30 || inet_pton(AF_INET, first, &ip) != 1)
        vmctl_stage1_fail(false, "take the address %s: IP,BITS expected", address);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        vmctl_stage1_fail(true, "set the address of the network card");
    bool up = false;
    for (int left = NAMES; !up && left > 0 && await_card(r.ifr_name, root); left--)
        up = bring_up(fd, &r, ip.s_addr, htonl(UINT32_MAX << (32 - bits)));
    if (up && gateway)
        add_route(fd, gateway);
    close(fd);
    return up;
}

/* Writes the name server, unless the root has one. A link, which belongs to a resolver, stays as well. */
void vmctl_stage1_name_server(const char *address, const char *root)
{
    char path[STAGE1_PATH];
    struct stat st;
    const char *server = strrchr(address, ',');
    size_t words = 1;
    for (const char *c = address; *c; c++)
        words += *c == ',';
    snprintf(path, sizeof path, "%s/etc/resolv.conf", root);
    if (words < 4 || (lstat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > 0)))
        return;
    FILE *file = fopen(path, "we");
    if (!file)
        return; /* a root that cannot be written stays as it is */
    bool whole = fprintf(file, "nameserver %s\n", server + 1) > 0;
    if (fclose(file) != 0 || !whole)
        fprintf(stderr, "vmctl-agent: the name server does not get into %s: %s\n", path, strerror(errno));
}
