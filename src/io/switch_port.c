/* A port's connection: paused, resumed, ended. */
#include "io/switch.h"

#include <unistd.h>

void vmctl_switch_pause(struct vmctl_switch_port *p)
{
    if (p->fd < 0 || p->paused)
        return;
    p->paused = true;
    vmctl_io_stop(p->sw->loop, &p->rio);
}

void vmctl_switch_resume(struct vmctl_switch *sw)
{
    for (int i = 0; i < sw->ports; i++) {
        struct vmctl_switch_port *p = sw->port[i];
        if (p && p->paused) {
            p->paused = false;
            if (p->fd >= 0)
                vmctl_io_start(sw->loop, &p->rio);
        }
    }
}

void vmctl_switch_set_state(struct vmctl_switch_port *p, enum vmctl_port_state state)
{
    bool was_full = p->state == VMCTL_PORT_FULL;
    p->state = state;
    if (was_full && state != VMCTL_PORT_FULL)
        vmctl_switch_resume(p->sw);
}

static void port_drop_output(struct vmctl_switch_port *p)
{
    vmctl_io_stop(p->sw->loop, &p->wio);
    vmctl_buf_free(&p->queue);
    p->runs = 0;
    vmctl_switch_set_state(p, VMCTL_PORT_FLOWING);
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
    close(p->fd);
    p->fd = -1;
    p->paused = false;
    p->ended = why;
    vmctl_wake_all(&sw->news, 0);
}
