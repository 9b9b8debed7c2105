/* A loop's virtual clock: it leaps to the next timer where the loop would wait although nothing is ready. */
#include "io/loop_parts.h"

#include <math.h>

void vmctl_loop_set_virtual(struct vmctl_loop *loop, double grace)
{
    loop->grace = grace;
    if (!vmctl_loop_is_ours(loop))
        return;
    vmctl_loop_set_tick(loop, INFINITY); /* the kernel's timer does not leap; the next poll sets it if it is needed */
    loop->due = loop->timers > 0;
}

/* Waits for fds alone, in real time, for the grace or for as long as there is no timer that could end the wait. Other processes get no
 * more time than that: see vmctl_loop_set_virtual. */
static bool loop_await_fds(struct vmctl_loop *loop, double left)
{
    double most = loop->at_work || left < loop->grace ? left : loop->grace;
    if (!vmctl_loop_sleep(loop, isinf(left) ? left : most))
        return false;
    vmctl_loop_look(loop);
    return true;
}

bool vmctl_loop_poll_virtual(struct vmctl_loop *loop, double until)
{
    vmctl_loop_look(loop);
    double first = loop->timers ? loop->heap[0]->at : INFINITY, next = until < first ? until : first;
    double left = next - vmctl_loop_now(loop);
    bool wait = until > 0 && !loop->happened && left > 0;
    if (wait && loop->active > 0 && (isinf(left) || loop->grace > 0 || loop->at_work) && !loop_await_fds(loop, left))
        return true; /* a signal, and not the end of the wait */
    left = next - vmctl_loop_now(loop);
    if (wait && !loop->happened && !isinf(left) && left > 0)
        loop->skew += left;
    vmctl_loop_expire(loop);
    return loop->active > 0 || loop->timers;
}
