/* Parking: every wait of the core goes through here. The rules are in park.h. */
#include "lua/park.h"

#include "lua/closing.h"
#include "lua/fail.h"
#include "lua/interrupt.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>

enum {
    PARK_REFUSALS = 1,  /* waits refused to a task that is cancelled or over its limit before the next one raises */
    PARK_CLOSING = 200  /* the same inside of a closing method, so that it can still do its work after a wait */
};

/* A failed task of the root scope ends the wait as well: the script may wait for its result. */
static bool root_woken(struct vmctl_lua *st)
{
    return st->root.status != VMCTL_TASK_PARKED || (st->orphans && !st->root.shielded);
}

/* A timer that is set early enough stays where it is: most waits end long before their deadline. */
static bool task_armed(const struct vmctl_task *t)
{
    return t->timer.slot && t->timer.at <= t->deadline;
}

static void task_arm(lua_State *L, struct vmctl_task *t)
{
    if (isinf(t->deadline)) { /* an idle timer would hide a deadlock */
        vmctl_timer_stop(&t->state->loop, &t->timer);
        return;
    }
    if (task_armed(t))
        return;
    if (vmctl_timer_set(&t->state->loop, &t->timer, t->deadline) != 0)
        luaL_error(L, "not enough memory");
}

static void root_wait(lua_State *L, struct vmctl_task *t)
{
    if (t->state->driver) {
        vmctl_list_remove(&t->waiter.link);
        t->status = VMCTL_TASK_RUNNING;
        luaL_error(L, "a wait inside a callback of the loop: start a task for it");
    }
    struct vmctl_lua *st = t->state;
    vmctl_drive(L, st, INFINITY, root_woken, false);
    if (t->status == VMCTL_TASK_PARKED) /* interrupted, or a deadlock */
        vmctl_task_ready(t, st->interrupted ? -EINTR : -EDEADLK);
    t->status = VMCTL_TASK_RUNNING;
    if (!t->shielded)
        vmctl_interrupt_raise(L, st);
    vmctl_scope_raise_orphans(L, st);
}

/* Calls `k`, and each continuation that parks next, until one returns without having parked. In a task the scheduler does
 * that; here it is this loop, so that a call takes the C stack of one wait however many it makes. */
static int root_loop(lua_State *L, struct vmctl_lua *st, lua_KContext ctx, lua_KFunction k)
{
    int results = 0;
    do {
        st->root_next = NULL;
        results = k(L, LUA_YIELD, ctx);
        k = st->root_next;
        ctx = st->root_ctx;
    } while (k);
    return results;
}

/* The wait is over: goes on with k. A caller that was itself called as a continuation of the plain script has a loop above
 * it, which calls k once the caller has returned. */
static int task_continue(lua_State *L, struct vmctl_task *t, int status, lua_KContext ctx, lua_KFunction k)
{
    if (t->co)
        return k(L, LUA_YIELD, ctx);
    if (status == LUA_OK)
        return root_loop(L, t->state, ctx, k);
    t->state->root_next = k;
    t->state->root_ctx = ctx;
    return 0;
}

static int task_wait(lua_State *L, struct vmctl_task *t, struct vmctl_waitq *q, int status, lua_KContext ctx, lua_KFunction k)
{
    t->status = VMCTL_TASK_PARKED;
    t->budget = VMCTL_TASK_BUDGET;
    task_arm(L, t);
    if (q)
        vmctl_waitq_add(q, &t->waiter);
    if (t->co)
        return lua_yieldk(L, 0, ctx, k);
    root_wait(L, t);
    return task_continue(L, t, status, ctx, k);
}

static struct vmctl_task *task_may_wait(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = vmctl_task_of(st, L);
    if (t->co && (t->pinned || !lua_isyieldable(L)))
        luaL_error(L, "a wait across a C call that can not yield (a sort comparator, a gsub callback, a finalizer)");
    return t;
}

/* Queues the task behind all that are ready; then k runs, and vmctl_why gives `why`. */
static int task_turn(lua_State *L, struct vmctl_task *t, int why, int status, lua_KContext ctx, lua_KFunction k)
{
    t->budget = VMCTL_TASK_BUDGET;
    if (t->co) {
        vmctl_task_ready(t, why);
        return lua_yieldk(L, 0, ctx, k);
    }
    if (!t->state->driver) {
        vmctl_drive(L, t->state, -INFINITY, NULL, true);
        vmctl_interrupt_raise(L, t->state);
        vmctl_scope_raise_orphans(L, t->state);
    }
    t->why = why;
    return task_continue(L, t, status, ctx, k);
}

static int refuse_raise(lua_State *L, int status, lua_KContext why)
{
    (void)status;
    return luaL_error(L, why == -ECANCELED ? "the task was cancelled and goes on waiting"
                                           : "the time limit is over and the task goes on waiting");
}

/* A task that is cancelled, or over its limit, gets a failure from the first wait that it begins. The next wait raises, so that no loop
 * around a wait runs for ever. */
static bool task_is_stubborn(lua_State *L, struct vmctl_task *t)
{
    if (t->ignored < PARK_CLOSING)
        t->ignored++;
    return t->ignored > PARK_REFUSALS && (t->ignored == PARK_CLOSING || !vmctl_is_closing(L));
}

static int task_refuse_cancelled(lua_State *L, struct vmctl_task *t, int status, lua_KContext ctx, lua_KFunction k)
{
    if (task_is_stubborn(L, t))
        return task_turn(L, t, -ECANCELED, status, -ECANCELED, refuse_raise);
    t->why = -ECANCELED;
    return task_continue(L, t, status, ctx, k);
}

/* A task that polls with time-out 0 must still let others run. */
static int task_refuse_late(lua_State *L, struct vmctl_task *t, int status, lua_KContext ctx, lua_KFunction k)
{
    if (t->limit > vmctl_loop_now(&t->state->loop))
        t->ignored = 0; /* the wait's own time-out */
    else if (task_is_stubborn(L, t))
        return task_turn(L, t, -ETIMEDOUT, status, -ETIMEDOUT, refuse_raise);
    if (!t->co || vmctl_must_pause(t->state, L))
        return task_turn(L, t, -ETIMEDOUT, status, ctx, k);
    t->why = -ETIMEDOUT;
    return task_continue(L, t, status, ctx, k);
}

int vmctl_park(struct vmctl_lua *st, lua_State *L, struct vmctl_waitq *q, int at, int status, lua_KContext ctx,
               lua_KFunction k)
{
    struct vmctl_task *t = task_may_wait(st, L);
    t->deadline = lua_tonumber(L, at);
    if (vmctl_task_cancelled(t))
        return task_refuse_cancelled(L, t, status, ctx, k);
    if (!isinf(t->deadline) && !task_armed(t) && t->deadline <= vmctl_loop_now(&st->loop)) /* armed: if it is late, the timer tells */
        return task_refuse_late(L, t, status, ctx, k);
    t->ignored = 0;
    t->shielded = false;
    return task_wait(L, t, q, status, ctx, k);
}

int vmctl_park_shielded(struct vmctl_lua *st, lua_State *L, struct vmctl_waitq *q, int status, lua_KContext ctx, lua_KFunction k)
{
    struct vmctl_task *t = task_may_wait(st, L);
    t->deadline = INFINITY;
    t->shielded = true;
    return task_wait(L, t, q, status, ctx, k);
}

int vmctl_why(struct vmctl_lua *st, lua_State *L)
{
    return vmctl_task_of(st, L)->why;
}

bool vmctl_must_pause(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = vmctl_task_here(st, L);
    if (!t || !t->co || --t->budget > 0)
        return false;
    t->budget = VMCTL_TASK_BUDGET;
    return !t->pinned && lua_isyieldable(L);
}

static int pause_refused(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    vmctl_fail(L, vmctl_why(vmctl_lua_get(L), L), "go on with the task");
    lua_pushinteger(L, 0); /* for a write: the bytes that were taken */
    return 4;
}

int vmctl_pause(struct vmctl_lua *st, lua_State *L, lua_KContext ctx, lua_KFunction k)
{
    struct vmctl_task *t = task_may_wait(st, L);
    if (vmctl_task_cancelled(t))
        return task_refuse_cancelled(L, t, LUA_OK, 0, pause_refused);
    if (!isinf(t->limit) && t->limit <= vmctl_loop_now(&st->loop))
        return task_refuse_late(L, t, LUA_OK, 0, pause_refused);
    t->ignored = 0;
    return task_turn(L, t, 0, LUA_OK, ctx, k);
}

static int pause_over(lua_State *L, int status, lua_KContext first)
{
    (void)status;
    return ((lua_KFunction)first)(L, LUA_OK, 0);
}

int vmctl_pause_before(struct vmctl_lua *st, lua_State *L, lua_KFunction first)
{
    return vmctl_pause(st, L, (lua_KContext)first, pause_over);
}
