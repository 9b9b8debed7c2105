/* A switch on a loop and in a thread of its own, so that a busy owner delays no frame. The owner enters the switch for each call, and
 * leaves it; events of the switch come on the owner's loop. Frames never wait for the owner. */
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
    pthread_mutex_t gate;        /* locked while one waits for the lock: so neither starves */
    unsigned depth;              /* how often the owner has entered; the owner's alone */
    bool stop;
    int wake, news;              /* eventfds: the thread must poll again; there are events for the owner */
    ev_io wake_io, news_io;
    unsigned told;               /* enum vmctl_switch_told, since the owner was last told */
};

/* Makes a switch, as vmctl_switch_init does, and starts its thread. On failure there is none. `t` stays where it is until the close. */
int vmctl_switch_thread_open(struct vmctl_switch_thread *t, struct vmctl_switch *sw, struct vmctl_loop *owner, uint64_t seed);

/* Ends the thread, and then the switch. Waits for the thread's present round, which does not block. Idempotent. */
void vmctl_switch_thread_close(struct vmctl_switch_thread *t);

#endif
