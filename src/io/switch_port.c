/* The end of a port's connection. */
#include "io/switch.h"

#include <unistd.h>

static void port_drop_output(struct vmctl_switch_port *p)
{
    vmctl_io_stop(p->sw->loop, &p->wio);
    vmctl_switch_queue_clear(p);
    p->runs = 0;
}

void vmctl_switch_detach(struct vmctl_switch_port *p, int why)
{
    struct vmctl_switch *sw = p->sw;
    if (p->fd < 0)
        return;
    vmctl_io_stop(sw->loop, &p->rio);
    port_drop_output(p);
    vmctl_buf_free(&p->part);
    vmctl_mac_forget(&sw->macs, p->index);
    vmctl_io_close(sw->loop, p->fd);
    p->fd = -1;
    p->paused = false;
    p->ended = why;
    vmctl_wake_all(&sw->news, 0);
}
