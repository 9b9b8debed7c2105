/* Shared by the files of a loop alone. */
#ifndef VMCTL_IO_LOOP_PARTS_H
#define VMCTL_IO_LOOP_PARTS_H

#include "io/loop.h"

/* loop_tick.c: the watcher of loop->tick. */
void vmctl_loop_on_tick(struct ev_loop *ev, ev_io *w, int events);

/* Sets the kernel's timer for a time on the loop's clock; INFINITY: never. */
void vmctl_loop_set_tick(struct vmctl_loop *loop, double at);

/* The same for the next wait, which may be woken early. */
void vmctl_loop_arm(struct vmctl_loop *loop, double at);

/* Runs the timers that are due. */
void vmctl_loop_expire(struct vmctl_loop *loop);

/* Called when a wait begins. True: the tick will end it if it has missed a signal. */
bool vmctl_loop_is_guarded(struct vmctl_loop *loop);

/* loop_wait.c. True if we may wait instead of libev. */
bool vmctl_loop_can_wait(struct vmctl_loop *loop);

/* Waits instead of libev, and runs the callbacks. */
void vmctl_loop_wait(struct vmctl_loop *loop);

/* Polls by libev, which waits if it may and there is something to wait for. */
void vmctl_loop_run(struct vmctl_loop *loop, bool wait);

/* Polls by libev, without a wait. */
void vmctl_loop_look(struct vmctl_loop *loop);

/* Waits until libev would have an event, at most `most` seconds. False: a signal came, or it must not wait. */
bool vmctl_loop_sleep(struct vmctl_loop *loop, double most);

/* loop_virtual.c: a round on a virtual clock. */
bool vmctl_loop_poll_virtual(struct vmctl_loop *loop, double until);

#endif
