/* Ends a port's connection, and tells the switch's owner. */
#include "io/switch_datagrams.h"
#include "io/switch_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

void vmctl_switch_hear(struct vmctl_switch *sw, unsigned what)
{
    if (what & VMCTL_TOLD_NEWS)
        vmctl_wake_all(&sw->news, 0);
    for (struct vmctl_switch_watcher *w = sw->watchers; w && what & VMCTL_TOLD_FRAMES; w = w->next) {
        if (w->hear)
            w->hear(w);
    }
}

/* Wakes the owner's loop, once for all events until it runs. */
static void thread_tell(struct vmctl_switch_thread *t, unsigned what)
{
    if (!t->told)
        (void)eventfd_write(t->news, 1);
    t->told |= what;
}

void vmctl_switch_tell(struct vmctl_switch *sw, unsigned what)
{
    if (sw->thread)
        thread_tell(sw->thread, what);
    else
        vmctl_switch_hear(sw, what);
}

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
    vmctl_switch_datagrams_end(p);
    p->paused = false;
    p->ended = why;
    vmctl_switch_tell(sw, VMCTL_TOLD_NEWS);
}
