/* The file, the pipe or the FIFO of a capture. */
#include "io/switch_capture.h"

#include "io/fs_private.h"
#include "io/pcap_filter.h"
#include "io/sysio.h"
#include "wire/pcapng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CAPTURE_BUFFER = 4 * 1024 * 1024 };

static const double CAPTURE_RETRY = 0.1; /* seconds between two looks for a reader of a FIFO */

static bool is_file(const struct vmctl_capture *c)
{
    return c->want.kind == VMCTL_CAPTURE_FILE;
}

/* Ends the capture after an error; a file ends behind its last whole block. */
void vmctl_capture_fail(struct vmctl_capture *c, int err)
{
    if (is_file(c) && c->half && ftruncate(c->fd, (off_t)c->whole) < 0)
        err = -errno;
    c->err = err;
    c->half = 0;
    vmctl_buf_free(&c->out);
    vmctl_io_stop(c->sw->loop, &c->wio);
    vmctl_timer_stop(c->sw->loop, &c->retry);
    vmctl_switch_tell(c->sw, VMCTL_TOLD_NEWS);
}

static ssize_t capture_put(struct vmctl_capture *c)
{
    size_t len = vmctl_buf_len(&c->out);
    if (is_file(c) && len > c->most - c->written) { /* the kernel would raise SIGXFSZ */
        len = (size_t)(c->most - c->written);
        if (!len)
            return -EFBIG;
    }
    struct iovec iov = { vmctl_buf_head(&c->out), len };
    if (!c->is_socket)
        return vmctl_sys_writev(c->fd, &iov, 1, false);
    ssize_t put = send(c->fd, iov.iov_base, iov.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return put >= 0 ? put : errno == EINTR ? -EAGAIN : -errno;
}

/* Removes written bytes from the output. */
static void capture_sent(struct vmctl_capture *c, size_t sent)
{
    const uint8_t *head = vmctl_buf_head(&c->out);
    size_t edge = c->half;
    while (edge < sent) {
        c->whole = c->written + edge;
        edge += vmctl_pcapng_size(head + edge);
    }
    c->half = edge - sent;
    c->written += sent;
    if (!c->half)
        c->whole = c->written;
    vmctl_buf_consume(&c->out, sent);
}

/* The offset of the next byte: a file may have been given to us with content. */
static uint64_t file_end(int fd)
{
    off_t at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    return at > 0 ? (uint64_t)at : 0;
}

/* Begins the capture again, in a new file or for a new reader. */
int vmctl_capture_begin(struct vmctl_capture *c)
{
    vmctl_buf_free(&c->out);
    c->half = 0;
    c->written = c->whole = is_file(c) ? file_end(c->fd) : 0;
    c->interfaces = 0;
    memset(c->serial, 0, sizeof c->serial);
    return vmctl_pcapng_section(&c->out);
}

static void fifo_wait(struct vmctl_capture *c)
{
    int err = vmctl_timer_set(c->sw->loop, &c->retry, vmctl_loop_now(c->sw->loop) + CAPTURE_RETRY);
    if (err)
        vmctl_capture_fail(c, err);
}

/* The reader of a FIFO has gone: the next one gets a capture of its own. */
static void fifo_lost(struct vmctl_capture *c)
{
    vmctl_io_stop(c->sw->loop, &c->wio);
    vmctl_io_close(c->sw->loop, c->fd);
    c->fd = -1;
    vmctl_buf_free(&c->out);
    fifo_wait(c);
}

void vmctl_capture_write(struct vmctl_capture *c)
{
    if (!vmctl_loop_is_ours(c->sw->loop) || c->fd < 0)
        return;
    while (!c->err && vmctl_buf_len(&c->out)) {
        ssize_t put = capture_put(c);
        if (put > 0) {
            capture_sent(c, (size_t)put);
        } else if (put == -EAGAIN) {
            vmctl_io_start(c->sw->loop, &c->wio);
            return;
        } else if (put == -EPIPE && c->want.kind == VMCTL_CAPTURE_FIFO) {
            fifo_lost(c);
            return;
        } else {
            vmctl_capture_fail(c, put ? (int)put : -EIO);
        }
    }
    vmctl_io_stop(c->sw->loop, &c->wio);
}

static int fifo_open(const char *path)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int err = fstat(fd, &st) < 0 ? -errno : !S_ISFIFO(st.st_mode) ? -EINVAL : st.st_uid != geteuid() ? -EPERM : 0;
    if (!err)
        return fd;
    close(fd);
    return err;
}

/* Opens a FIFO if it has a reader. */
void vmctl_capture_open_fifo(struct vmctl_capture *c)
{
    int fd = fifo_open(c->want.path);
    if (fd == -ENXIO) {
        fifo_wait(c);
        return;
    }
    if (fd < 0) {
        vmctl_capture_fail(c, fd);
        return;
    }
    c->fd = fd;
    ev_io_set(&c->wio, fd, EV_WRITE);
    int err = vmctl_capture_begin(c);
    if (err)
        vmctl_capture_fail(c, err);
    vmctl_capture_write(c);
}

static void on_retry(struct vmctl_timer *t)
{
    vmctl_capture_open_fifo(VMCTL_CONTAINER(t, struct vmctl_capture, retry));
}

static void on_capture_writable(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_capture *c = VMCTL_CONTAINER(w, struct vmctl_capture, wio);
    int failed = vmctl_io_failed(c->sw->loop, w, events);
    if (failed && failed != -EAGAIN)
        vmctl_capture_fail(c, failed);
    else
        vmctl_capture_write(c);
}

/* Renames PATH.1 to PATH.2 and so on, removes the last one, renames PATH to PATH.1, and makes PATH anew. */
int vmctl_capture_rotate(struct vmctl_capture *c)
{
    char from[VMCTL_CAPTURE_PATH + 16], to[VMCTL_CAPTURE_PATH + 16];
    struct stat st;
    for (unsigned i = c->want.files - 1; i > 0; i--) {
        snprintf(to, sizeof to, "%s.%u", c->want.path, i);
        snprintf(from, sizeof from, i > 1 ? "%s.%u" : "%s", c->want.path, i - 1);
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    int fd, err = vmctl_private_open(c->want.path, true, &fd, &st);
    if (err)
        return err;
    if (close(c->fd) < 0) {
        err = -errno;
        close(fd);
        c->fd = -1;
        return err;
    }
    c->fd = fd;
    return vmctl_capture_begin(c);
}

void vmctl_capture_output_init(struct vmctl_capture *c)
{
    c->retry.expired = on_retry;
    ev_init(&c->wio, on_capture_writable);
    vmctl_buf_init(&c->out, CAPTURE_BUFFER);
}
