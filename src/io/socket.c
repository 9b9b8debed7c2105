/* The system calls of sockets: connect, bind and listen, accept, names and credentials. */
#include "io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SOCKET_TYPE = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
    SOCKET_MODE = 0600,
    SOCKET_VSOCK_LIMIT = 3600, /* seconds */
    SOCKET_MODE_BITS = 0777
};

static bool socket_is_tcp(const struct vmctl_addr *a)
{
    return a->u.sa.sa_family == AF_INET || a->u.sa.sa_family == AF_INET6;
}

static bool socket_has_path(const struct vmctl_addr *a)
{
    return a->u.sa.sa_family == AF_UNIX && a->len > offsetof(struct sockaddr_un, sun_path) &&
           a->u.un.sun_path[0] != '\0';
}

/* Frames are written whole, so waiting for more bytes only delays them. A refusal costs time, not bytes: ignored. */
static void socket_no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int socket_start_connect(int fd, const struct vmctl_addr *a)
{
    while (connect(fd, &a->u.sa, a->len) < 0) {
        if (errno == EISCONN)
            return 0;
        if (errno != EINTR) /* after a signal the attempt may go on or not: asking again tells */
            return errno == EALREADY ? -EINPROGRESS : -errno;
    }
    return 0;
}

/* Raises the kernel's limit of two seconds, which would end an attempt before the caller's own limit. */
static void socket_be_patient(int fd)
{
    struct timeval most = { .tv_sec = SOCKET_VSOCK_LIMIT };
    (void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &most, sizeof most);
}

int vmctl_socket_connect(const struct vmctl_addr *a, int *out_fd)
{
    int fd = socket(a->u.sa.sa_family, SOCKET_TYPE, 0);
    if (fd < 0)
        return -errno;
    if (socket_is_tcp(a))
        socket_no_delay(fd);
    if (a->u.sa.sa_family == AF_VSOCK)
        socket_be_patient(fd);
    int err = socket_start_connect(fd, a);
    if (err && err != -EINPROGRESS) {
        close(fd);
        return err;
    }
    *out_fd = fd;
    return err;
}

/* SO_ERROR alone decides. getpeername would fail on an AF_VSOCK peer that accepted and has closed again, which is how
 * readiness ports answer. */
int vmctl_socket_finish(int fd)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    return -err;
}

/* Removes a socket at the path if no process listens on it. The second check shortens, but cannot remove, the time in which another
 * process may bind the same path: two servers that start at one path at the same moment need a lock of their own. */
static int socket_remove_stale(const struct vmctl_addr *a)
{
    const char *path = a->u.un.sun_path;
    struct stat found, still;
    if (lstat(path, &found) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(found.st_mode))
        return -EADDRINUSE;
    int fd, err = vmctl_socket_connect(a, &fd);
    if (!err)
        close(fd);
    switch (err) {
    case -ECONNREFUSED:
        break;
    case -ENOENT:
        return 0;
    case 0:
    case -EAGAIN:
    case -EPROTOTYPE: /* a datagram socket, alive */
        return -EADDRINUSE;
    default:
        return err;
    }
    if (lstat(path, &still) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(still.st_mode) || still.st_dev != found.st_dev || still.st_ino != found.st_ino)
        return -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Sets the mode of a socket's file. It is created with the fd's mode less the umask, so it is never open to more users than `mode`
 * allows; this adds the bits that the umask took. The umask itself belongs to the whole process, and is not changed. */
static int socket_widen(const char *path, mode_t mode)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    if ((st.st_mode & SOCKET_MODE_BITS) == mode)
        return 0;
    return fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int socket_bind_path(int fd, const struct vmctl_addr *a, mode_t mode)
{
    if (fchmod(fd, mode) < 0)
        return -errno;
    if (bind(fd, &a->u.sa, a->len) < 0) {
        if (errno != EADDRINUSE)
            return -errno;
        int err = socket_remove_stale(a);
        if (err)
            return err;
        if (bind(fd, &a->u.sa, a->len) < 0)
            return -errno;
    }
    int err = socket_widen(a->u.un.sun_path, mode);
    if (err)
        unlink(a->u.un.sun_path);
    return err;
}

static int socket_bind_plain(int fd, const struct vmctl_addr *a)
{
    int on = 1;
    if (socket_is_tcp(a) && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    return bind(fd, &a->u.sa, a->len) < 0 ? -errno : 0;
}

int vmctl_socket_listen(const struct vmctl_addr *a, int backlog, unsigned mode, int *out_fd)
{
    if (mode & ~(unsigned)SOCKET_MODE_BITS)
        return -EINVAL;
    bool path = socket_has_path(a);
    int fd = socket(a->u.sa.sa_family, SOCKET_TYPE, 0);
    if (fd < 0)
        return -errno;
    int err = path ? socket_bind_path(fd, a, mode ? mode : SOCKET_MODE) : socket_bind_plain(fd, a);
    if (err)
        goto out;
    if (listen(fd, backlog) < 0) {
        err = -errno;
        if (path)
            unlink(a->u.un.sun_path);
        goto out;
    }
    *out_fd = fd;
    fd = -1;
out:
    if (fd >= 0)
        close(fd);
    return err;
}

/* Linux reports the failure of one waiting connection as a failure of accept: it does not concern the others. */
static bool socket_lost_one(int err)
{
    return err == ECONNABORTED || err == EPROTO || err == ENOPROTOOPT || err == ENETDOWN || err == ENETUNREACH ||
           err == EHOSTDOWN || err == EHOSTUNREACH || err == ENONET;
}

/* Clamped: the kernel reports the length it had, which for a path without NUL is one more than a sockaddr_un. */
static void socket_set_addr(struct vmctl_addr *out, struct vmctl_addr *got)
{
    if (got->len > sizeof got->u)
        got->len = sizeof got->u;
    *out = *got;
}

int vmctl_socket_accept(int fd, int *out_fd, struct vmctl_addr *peer)
{
    struct vmctl_addr a = {.len = sizeof a.u};
    int conn;
    do {
        conn = accept4(fd, &a.u.sa, &a.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (conn < 0 && errno == EINTR);
    if (conn < 0)
        return socket_lost_one(errno) ? -EAGAIN : -errno;
    if (socket_is_tcp(&a))
        socket_no_delay(conn);
    *out_fd = conn;
    socket_set_addr(peer, &a);
    return 0;
}

int vmctl_socket_local(int fd, struct vmctl_addr *out)
{
    struct vmctl_addr a = {.len = sizeof a.u};
    if (getsockname(fd, &a.u.sa, &a.len) < 0)
        return -errno;
    socket_set_addr(out, &a);
    return 0;
}

int vmctl_socket_peer(int fd, struct vmctl_addr *out)
{
    struct vmctl_addr a = {.len = sizeof a.u};
    if (getpeername(fd, &a.u.sa, &a.len) < 0)
        return -errno;
    socket_set_addr(out, &a);
    return 0;
}

int vmctl_socket_credentials(int fd, pid_t *pid, uid_t *uid, gid_t *gid)
{
    int family;
    struct ucred who;
    socklen_t len = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0)
        return -errno;
    if (family != AF_UNIX)
        return -ENOTSUP;
    len = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return -errno;
    if (who.uid == (uid_t)-1) /* not connected; a pid of 0 alone is a peer in another pid namespace */
        return -ENOTCONN;
    *pid = who.pid;
    *uid = who.uid;
    *gid = who.gid;
    return 0;
}

int vmctl_socket_local_cid(uint32_t *out)
{
    unsigned cid = 0;
    int err = 0, fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
        err = -errno;
    else
        *out = cid;
    close(fd);
    return err;
}

int vmctl_socket_pair(int out[2])
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCKET_TYPE, 0, pair) < 0)
        return -errno;
    out[0] = pair[0];
    out[1] = pair[1];
    return 0;
}

int vmctl_socket_send_fd(int sock, int fd, char byte)
{
    union { /* aligned as a header must be */
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = { .space = { 0 } };
    struct iovec iov = { &byte, 1 };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ssize_t n;
    do
        n = sendmsg(sock, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}
