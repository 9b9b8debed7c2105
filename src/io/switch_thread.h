/* A switch on a loop and in a thread of its own: what holds up its owner's loop holds up no frame. The owner enters the switch for
 * each call, and leaves it; what the switch has to tell is told on the owner's loop. Frames never wait for the owner. */
#ifndef VMCTL_IO_SWITCH_THREAD_H
#define VMCTL_IO_SWITCH_THREAD_H

#include "io/switch.h"

#include <pthread.h>

struct vmctl_switch_thread {
    struct vmctl_handle handle;  /* of the owner's loop */
    struct vmctl_loop *owner;
    struct vmctl_loop loop;      /* the switch's */
    struct vmctl_switch *sw;
    pthread_t thread;
    pthread_mutex_t lock;        /* guards the switch and its loop; the thread holds it but for its waits */
    pthread_mutex_t gate;        /* who waits for the lock holds it: so neither is left out for long */
    unsigned depth;              /* how often the owner has entered; the owner's alone */
    bool stop;
    int wake, news;              /* eventfds: the thread is to look again; there is something to tell */
    ev_io wake_io, news_io;
    unsigned told;               /* enum vmctl_switch_told, since the owner was last told */
};

/* Makes a switch, as vmctl_switch_init does, and starts its thread. On failure there is none. `t` stays where it is until the close. */
int vmctl_switch_thread_open(struct vmctl_switch_thread *t, struct vmctl_switch *sw, struct vmctl_loop *owner, uint64_t seed);

/* Ends the thread, and then the switch. Waits for what the thread does at the moment, which does not block. Idempotent. */
void vmctl_switch_thread_close(struct vmctl_switch_thread *t);

#endif
