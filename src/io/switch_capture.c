/* Writes the frames of a switch to a pcapng file, or into a pipe for a program that shows them meanwhile. */
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

enum { CAPTURE_WRITE = 64 * 1024 }; /* bytes that are worth a write */

/* Makes room for a packet in a file that has a limit. False: there is none. */
static bool file_has_room(struct vmctl_capture *c, size_t packet)
{
    if (c->full || c->err)
        return false;
    if (!c->want.max_bytes || c->written + vmctl_buf_len(&c->out) + packet <= c->want.max_bytes)
        return true;
    vmctl_capture_write(c);
    if (c->want.files < 2)
        c->full = true;
    else if (!c->err) {
        int err = vmctl_capture_rotate(c);
        if (err)
            vmctl_capture_fail(c, err);
    }
    return !c->full && !c->err;
}

static int put_interface(struct vmctl_capture *c, const struct vmctl_switch_port *from)
{
    int port = from->index;
    if (c->serial[port] == from->serial)
        return 0;
    int err = vmctl_pcapng_interface(&c->out, from->name, c->want.snaplen ? c->want.snaplen : VMCTL_ETHER_MAX);
    if (err)
        return err;
    c->serial[port] = from->serial;
    c->interface[port] = c->interfaces++;
    return 0;
}

enum { CAPTURE_MARGIN = 512 }; /* bytes of a packet and its interface beside the frame and the note */

static void capture_saw(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    struct vmctl_capture *c = VMCTL_CONTAINER(w, struct vmctl_capture, watcher);
    const struct vmctl_switch *sw = c->sw;
    if (c->want.filter && !vmctl_pcap_filter_match(c->want.filter, frame, len))
        return;
    if (c->fd < 0) /* nobody reads the FIFO */
        return;
    if (!file_has_room(c, len + sw->note_len + CAPTURE_MARGIN)) {
        c->lost++;
        return;
    }
    struct vmctl_pcapng_packet packet = {
        .ns = (uint64_t)((sw->now + c->epoch) * 1e9), .frame = frame, .len = len, .flags = VMCTL_PCAPNG_INBOUND,
        .kept = c->want.snaplen && c->want.snaplen < len ? c->want.snaplen : len, .comment = sw->note, .comment_len = sw->note_len
    };
    int err = put_interface(c, from);
    packet.interface = c->interface[from->index];
    if (!err)
        err = vmctl_pcapng_packet(&c->out, &packet);
    if (err)
        c->lost++;
    else
        c->frames++;
    if (vmctl_buf_len(&c->out) >= CAPTURE_WRITE && !ev_is_active(&c->wio))
        vmctl_capture_write(c);
}

static bool capture_pause(struct vmctl_switch_watcher *w)
{
    struct vmctl_capture *c = VMCTL_CONTAINER(w, struct vmctl_capture, watcher);
    if (!ev_is_active(&c->wio))
        vmctl_capture_write(c);
    return false;
}

static void capture_over(struct vmctl_switch_watcher *w)
{
    vmctl_capture_close(VMCTL_CONTAINER(w, struct vmctl_capture, watcher));
}

static void capture_init(struct vmctl_capture *c, struct vmctl_switch *sw, int fd, const struct vmctl_capture_options *want)
{
    struct timespec t;
    struct rlimit limit;
    clock_gettime(CLOCK_REALTIME, &t);
    *c = (struct vmctl_capture){ .sw = sw, .fd = fd, .want = *want, .open = true };
    c->epoch = (double)t.tv_sec + (double)t.tv_nsec * 1e-9 - vmctl_loop_now(sw->loop);
    c->most = getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    c->watcher.saw = capture_saw;
    c->watcher.pause = capture_pause;
    c->watcher.over = capture_over;
    c->watcher.wants_notes = true;
    vmctl_capture_output_init(c);
}

int vmctl_capture_open(struct vmctl_capture *c, struct vmctl_switch *sw, int fd, const struct vmctl_capture_options *want)
{
    struct stat st;
    capture_init(c, sw, fd, want);
    c->want.path = want->path ? strdup(want->path) : NULL;
    if (want->path && (!c->want.path || strlen(want->path) >= VMCTL_CAPTURE_PATH))
        c->err = c->want.path ? -ENAMETOOLONG : -ENOMEM;
    if (fd >= 0) {
        c->is_socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
        ev_io_set(&c->wio, fd, EV_WRITE);
        c->err = c->err ? c->err : vmctl_capture_begin(c);
        vmctl_capture_write(c);
    } else if (!c->err) {
        vmctl_capture_open_fifo(c);
    }
    int err = c->err;
    if (err)
        vmctl_capture_close(c);
    else
        vmctl_switch_watch(sw, &c->watcher);
    return err;
}

size_t vmctl_capture_pending(const struct vmctl_capture *c)
{
    return c->open && !c->err ? vmctl_buf_len(&c->out) : 0;
}

int vmctl_capture_close(struct vmctl_capture *c)
{
    if (!c->open)
        return c->err;
    vmctl_switch_unwatch(c->sw, &c->watcher);
    if (!c->err)
        vmctl_capture_write(c);
    c->open = false;
    vmctl_io_stop(c->sw->loop, &c->wio);
    vmctl_timer_stop(c->sw->loop, &c->retry);
    if (c->fd >= 0)
        vmctl_io_forget(c->sw->loop, c->fd);
    if (c->fd >= 0 && close(c->fd) < 0 && !c->err)
        c->err = -errno;
    c->fd = -1;
    vmctl_buf_free(&c->out);
    vmctl_pcap_filter_free(c->want.filter);
    free((char *)c->want.path);
    c->want.path = NULL;
    c->want.filter = NULL;
    return c->err;
}
