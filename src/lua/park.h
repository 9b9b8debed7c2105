/* Waiting: how a function of the core parks the task that calls it, and what it finds afterwards.
 *
 * A function that parks is its own continuation `k`: it is called again, in the same stack, when the wait is over, and asks
 * vmctl_why. The rules for it:
 *  - It returns at once what vmctl_park returns: `return vmctl_park(…)`. In a task that is a yield. In a plain script the first
 *    call drives the loop and calls k until k returns without parking; a k that parks again returns to that loop.
 *  - `status` is the one that it was called with: LUA_OK at the first call, LUA_YIELD as a continuation.
 *  - What survives the wait is in stack slots (lua_settop first), in the object, or in ctx; never in a C local.
 *  - Slot `at` has the absolute deadline: vmctl_set_deadline at the first call.
 *  - A slot holds the object that owns the queue, so that it is not collected during the wait.
 *  - After waking it looks first whether the object was closed, then at vmctl_why.
 *  - It consumes input before it pushes: a push may run a finalizer.
 *  - It parks before it has side effects that a refusal would leave behind: vmctl_park raises in a coroutine of others.
 * A cancelled task is not parked: k is called with ECANCELED. */
#ifndef VMCTL_LUA_PARK_H
#define VMCTL_LUA_PARK_H

#include "io/wait.h"
#include "lua/state.h"

#include <lua.h>
#include <stdbool.h>

/* Waits in `q` (NULL: for time alone) until the task is woken, or until the deadline. */
int vmctl_park(struct vmctl_lua *st, lua_State *L, struct vmctl_waitq *q, int at, int status, lua_KContext ctx, lua_KFunction k);

/* As vmctl_park, but neither time nor cancelling ends it. An interrupt does, with EINTR: the caller ends without delay, and then calls
 * vmctl_interrupt_raise. */
int vmctl_park_shielded(struct vmctl_lua *st, lua_State *L, struct vmctl_waitq *q, int status, lua_KContext ctx, lua_KFunction k);

/* How the wait ended: 0, -ETIMEDOUT, -ECANCELED, or the waker's reason. */
int vmctl_why(struct vmctl_lua *st, lua_State *L);

/* True if the caller must let other tasks run, although it need not wait: it then does `return vmctl_pause(L, …)`, and k is called after
 * the others' turn, unless the task is cancelled or over its limit by then: the pause returns that failure itself. */
bool vmctl_must_pause(struct vmctl_lua *st, lua_State *L);
int vmctl_pause(struct vmctl_lua *st, lua_State *L, lua_KContext ctx, lua_KFunction k);

/* The same for a waiting function that has not begun: after the pause it is called as at the first time (LUA_OK, 0), so
 * that it still finds its time-out argument as it was given. */
int vmctl_pause_before(struct vmctl_lua *st, lua_State *L, lua_KFunction first);

/* task_deadline.c. The absolute time of a time-out given at stack slot `arg`: a number, or a table with `timeout`; nil:
 * `otherwise` seconds. A number that is no time-out raises. Bounded by the task's limit. */
double vmctl_deadline(struct vmctl_lua *st, lua_State *L, int arg, double otherwise);

/* Puts the deadline of the time-out argument in slot `at` in its place. For the first call of a waiting function. */
void vmctl_set_deadline(struct vmctl_lua *st, lua_State *L, int at, double otherwise);

#endif
