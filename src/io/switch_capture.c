/* Writes the frames of a switch to a pcapng file. */
#include "io/switch_capture.h"

#include "wire/pcapng.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { CAPTURE_BUFFER = 1024 * 1024, CAPTURE_WRITE = 64 * 1024 };

static void capture_write(struct vmctl_capture *c)
{
    if (!vmctl_loop_is_ours(c->sw->loop))
        return;
    while (!c->err && vmctl_buf_len(&c->out)) {
        ssize_t put = write(c->fd, vmctl_buf_head(&c->out), vmctl_buf_len(&c->out));
        if (put > 0)
            vmctl_buf_consume(&c->out, (size_t)put);
        else if (put < 0 && errno != EINTR)
            c->err = -errno;
    }
}

static void capture_saw(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    struct vmctl_capture *c = VMCTL_CONTAINER(w, struct vmctl_capture, watcher);
    if (c->err)
        return;
    int port = from->index;
    if (c->serial[port] != from->serial) {
        c->err = vmctl_pcapng_interface(&c->out, from->name, VMCTL_ETHER_MAX);
        c->serial[port] = from->serial;
        c->interface[port] = c->interfaces++;
    }
    if (!c->err)
        c->err = vmctl_pcapng_packet(&c->out, c->interface[port], (uint64_t)((c->sw->now + c->epoch) * 1e9), frame, len);
    c->frames += !c->err;
    if (vmctl_buf_len(&c->out) >= CAPTURE_WRITE)
        capture_write(c);
}

static bool capture_pause(struct vmctl_switch_watcher *w)
{
    capture_write(VMCTL_CONTAINER(w, struct vmctl_capture, watcher));
    return false;
}

static void capture_over(struct vmctl_switch_watcher *w)
{
    vmctl_capture_close(VMCTL_CONTAINER(w, struct vmctl_capture, watcher));
}

int vmctl_capture_open(struct vmctl_capture *c, struct vmctl_switch *sw, int fd)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    *c = (struct vmctl_capture){ .sw = sw, .fd = fd };
    c->epoch = (double)t.tv_sec + (double)t.tv_nsec * 1e-9 - vmctl_loop_now(sw->loop);
    c->watcher.saw = capture_saw;
    c->watcher.pause = capture_pause;
    c->watcher.over = capture_over;
    vmctl_buf_init(&c->out, CAPTURE_BUFFER);
    c->err = vmctl_pcapng_section(&c->out);
    capture_write(c);
    int err = c->err;
    if (err)
        vmctl_capture_close(c);
    else
        vmctl_switch_watch(sw, &c->watcher);
    return err;
}

int vmctl_capture_close(struct vmctl_capture *c)
{
    if (c->fd < 0)
        return c->err;
    vmctl_switch_unwatch(c->sw, &c->watcher);
    capture_write(c);
    if (close(c->fd) < 0 && !c->err)
        c->err = -errno;
    c->fd = -1;
    vmctl_buf_free(&c->out);
    return c->err;
}
