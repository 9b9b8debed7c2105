/* Opens datagram ports of a switch: binds a socket, and attaches it. */
#include "io/switch_datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATAGRAM_MODE = 0600 };

/* Removes the socket file of a process that has ended. */
static void remove_stale(const struct vmctl_addr *local)
{
    struct stat st;
    if (!vmctl_switch_datagrams_has_path(local) || lstat(local->u.un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &local->u.sa, local->len) < 0 && errno == ECONNREFUSED)
        unlink(local->u.un.sun_path);
    close(fd);
}

static int bind_socket(const struct vmctl_addr *local, int *out_fd)
{
    int fd = socket(local->u.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    remove_stale(local);
    bool is_unix = local->u.sa.sa_family == AF_UNIX;
    if ((is_unix && fchmod(fd, DATAGRAM_MODE) < 0) || bind(fd, &local->u.sa, local->len) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

static void on_look(struct vmctl_timer *t)
{
    vmctl_switch_datagrams_look(VMCTL_CONTAINER(t, struct vmctl_switch_datagrams, look));
}

int vmctl_switch_attach_datagrams(struct vmctl_switch_port *p, const struct vmctl_addr *local, const struct vmctl_addr *remote)
{
    if (local->u.sa.sa_family == AF_UNIX ? remote && remote->u.sa.sa_family != AF_UNIX
                                         : !remote || remote->u.sa.sa_family != local->u.sa.sa_family)
        return -EINVAL;
    struct vmctl_switch_datagrams *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    int fd = -1, err = bind_socket(local, &fd);
    if (err) {
        free(d);
        return err;
    }
    d->local = *local;
    d->given = remote != NULL;
    if (remote)
        d->remote = *remote;
    d->port = p;
    d->look.expired = on_look;
    p->datagrams = d;
    err = vmctl_switch_attach(p, VMCTL_PORT_DATAGRAMS, fd, "", 0);
    if (err)
        return err;
    vmctl_switch_datagrams_look(d);
    return 0;
}
