/* Tasks: coroutines that wait. Here and in task_wrap.c is all that resumes and yields. */
#include "lua/state.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    TASK_BUDGET = 200,      /* waits that end at once before a task must let others run */
    TASK_STUBBORN = 200,    /* waits refused to a cancelled task before it is ended by an error */
    TASK_ROUNDS = 4         /* of tasks that wake each other, before the loop is asked for events */
};

/* Who waits here? The running task, or the plain script; NULL in a coroutine that is not ours. */
struct vmctl_task *vmctl_task_here(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = st->current ? st->current : &st->root;
    if (t->running == L)
        return t;
    return NULL;
}

struct vmctl_task *vmctl_task_of(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = vmctl_task_here(st, L);
    if (!t)
        luaL_error(L, "a wait in a coroutine that vmctl did not make: make it with vmctl.wrap, or run it as a task");
    return t;
}

/* Parking and waking */

static void task_queue(struct vmctl_task *t)
{
    if (t->queued)
        return;
    struct vmctl_lua *st = t->state;
    t->queued = true;
    t->next_ready = NULL;
    *st->ready_tail = t;
    st->ready_tail = &t->next_ready;
}

void vmctl_task_ready(struct vmctl_task *t, int why)
{
    vmctl_list_remove(&t->waiter.link);
    t->why = why;
    t->status = VMCTL_TASK_READY;
    if (t->co)
        task_queue(t);
}

static void on_wake(struct vmctl_waiter *w, int why)
{
    vmctl_task_ready(VMCTL_CONTAINER(w, struct vmctl_task, waiter), why);
}

static void on_deadline(struct vmctl_timer *timer)
{
    struct vmctl_task *t = VMCTL_CONTAINER(timer, struct vmctl_task, timer);
    if (t->status != VMCTL_TASK_PARKED || isinf(t->deadline))
        return;
    if (t->deadline > vmctl_loop_now(&t->state->loop))
        vmctl_timer_set(&t->state->loop, timer, t->deadline);
    else
        vmctl_task_ready(t, -ETIMEDOUT);
}

void vmctl_task_interrupt(struct vmctl_task *t)
{
    if (t->status == VMCTL_TASK_PARKED && !t->shielded)
        vmctl_task_ready(t, -ECANCELED);
}

void vmctl_task_cancel(struct vmctl_task *t)
{
    if (t->status >= VMCTL_TASK_DONE)
        return;
    t->cancelled = true;
    for (struct vmctl_scope *s = t->inner; s; s = s->outer)
        vmctl_scope_cancel(s);
    vmctl_task_interrupt(t);
}

void vmctl_task_init(struct vmctl_task *t, struct vmctl_lua *st)
{
    memset(t, 0, sizeof *t);
    t->state = st;
    t->limit = INFINITY;
    t->budget = TASK_BUDGET;
    t->waiter.wake = on_wake;
    t->timer.expired = on_deadline;
    vmctl_list_init(&t->waiter.link);
    vmctl_list_init(&t->link);
    vmctl_waitq_init(&t->joiners);
}

/* A task of no scope that fails ends the wait as well: what it was to do may be what the script waits for. */
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
    if (isinf(t->deadline)) { /* an idle timer would hide that nothing is left to wait for */
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
    if (t->status == VMCTL_TASK_PARKED) /* nothing is left that could wake it */
        vmctl_task_ready(t, -EDEADLK);
    t->status = VMCTL_TASK_RUNNING;
    vmctl_scope_raise_orphans(L, st);
}

/* Calls `k`, and what k hands back by parking again, until one returns without having parked. In a task the scheduler does
 * that; here it is this loop, so that a call takes the C stack of one wait however many it makes. */
static int root_loop(lua_State *L, struct vmctl_lua *st, lua_KContext ctx, lua_KFunction k)
{
    int results;
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
    t->budget = TASK_BUDGET;
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

/* Behind all that are ready; then k, which finds `why`. */
static int task_turn(lua_State *L, struct vmctl_task *t, int why, int status, lua_KContext ctx, lua_KFunction k)
{
    t->budget = TASK_BUDGET;
    if (t->co) {
        vmctl_task_ready(t, why);
        return lua_yieldk(L, 0, ctx, k);
    }
    if (!t->state->driver) {
        vmctl_drive(L, t->state, -INFINITY, NULL, true);
        vmctl_scope_raise_orphans(L, t->state);
    }
    t->why = why;
    return task_continue(L, t, status, ctx, k);
}

static int task_refuse_cancelled(lua_State *L, struct vmctl_task *t, int status, lua_KContext ctx, lua_KFunction k)
{
    if (++t->ignored > TASK_STUBBORN) {
        t->ignored = 0;
        return luaL_error(L, "the task was cancelled and goes on waiting");
    }
    t->why = -ECANCELED;
    return task_continue(L, t, status, ctx, k);
}

/* A task that polls with time-out 0 must still let others run. */
static int task_refuse_late(lua_State *L, struct vmctl_task *t, int status, lua_KContext ctx, lua_KFunction k)
{
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
    if (vmctl_scope_cancelled(t))
        return task_refuse_cancelled(L, t, status, ctx, k);
    t->ignored = 0;
    if (!isinf(t->deadline) && !task_armed(t) && t->deadline <= vmctl_loop_now(&st->loop)) /* armed: if it is late, the timer tells */
        return task_refuse_late(L, t, status, ctx, k);
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
    t->budget = TASK_BUDGET;
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
    if (vmctl_scope_cancelled(t))
        return task_refuse_cancelled(L, t, LUA_OK, 0, pause_refused);
    t->ignored = 0;
    if (!isinf(t->limit) && t->limit <= vmctl_loop_now(&st->loop))
        return task_turn(L, t, -ETIMEDOUT, LUA_OK, 0, pause_refused);
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

/* Running */

/* The living tasks are held by a table, so that one that nobody else knows is not collected while it waits. `tables` is
 * the driver's stack index of that table and of the list of its free places. */
static void task_unanchor(lua_State *L, struct vmctl_task *t)
{
    struct vmctl_lua *st = t->state;
    lua_pushnil(L);
    lua_rawseti(L, st->tables, t->anchor);
    lua_pushinteger(L, t->anchor);
    lua_rawseti(L, st->tables + 1, ++st->free_places);
    t->anchor = 0;
}

static void task_anchor(lua_State *L, struct vmctl_lua *st, struct vmctl_task *t, int task_at)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &st->living);
    if (st->free_places) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &st->free_places);
        lua_rawgeti(L, -1, st->free_places--);
        t->anchor = lua_tointeger(L, -1);
        lua_pop(L, 2);
    } else {
        t->anchor = ++st->living;
    }
    lua_pushvalue(L, task_at);
    lua_rawseti(L, -2, t->anchor);
    lua_pop(L, 1);
}

static int task_traceback(lua_State *L)
{
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    if (text && !strstr(text, "\nstack traceback:")) /* an error that comes from a task inside has one already */
        luaL_traceback(L, L, text, 1);
    return 1;
}

static int task_body_ended(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    return status == LUA_OK || status == LUA_YIELD ? lua_gettop(L) - 1 : lua_error(L);
}

/* What the coroutine of a task runs: a protected call of its function, so that the <close> variables that an error passes
 * run in the living task, where they may wait. */
static int task_body(lua_State *L)
{
    int nargs = lua_gettop(L) - 1;
    lua_pushcfunction(L, task_traceback);
    lua_insert(L, 1);
    return task_body_ended(L, lua_pcallk(L, nargs, LUA_MULTRET, 1, 0, task_body_ended), 0);
}

void vmctl_task_launch(lua_State *L, int task_at, int nargs)
{
    struct vmctl_task *t = lua_touserdata(L, task_at);
    if (!lua_checkstack(t->co, nargs + 2))
        luaL_error(L, "too many arguments");
    lua_pushcfunction(t->co, task_body);
    lua_xmove(L, t->co, nargs + 1);
    t->nargs = nargs + 1;
    task_anchor(L, t->state, t, task_at);
    task_queue(t);
}

/* Leaves the error alone on the coroutine's stack. */
static void task_bury(lua_State *L, lua_State *co)
{
    lua_xmove(co, L, 1);
    lua_resetthread(co);
    lua_settop(co, 0);
    lua_xmove(L, co, 1);
}

static void task_finish(lua_State *L, struct vmctl_task *t, bool failed, int results)
{
    vmctl_timer_stop(&t->state->loop, &t->timer);
    if (failed)
        task_bury(L, t->co);
    t->nargs = results;
    t->status = failed ? VMCTL_TASK_FAILED : VMCTL_TASK_DONE;
    /* A cancelled task ends as it can, most often by an assert on a wait that was refused: that is nobody's failure. */
    bool unheard = failed && !t->cancelled && !vmctl_waitq_busy(&t->joiners);
    vmctl_wake_all(&t->joiners, 0);
    if (unheard) {
        lua_pushvalue(t->co, -1);
        lua_xmove(t->co, L, 1);
    }
    vmctl_scope_leave(L, t, unheard);
    task_unanchor(L, t);
}

static void task_resume(lua_State *L, struct vmctl_task *t)
{
    struct vmctl_lua *st = t->state;
    int results, nargs = lua_status(t->co) == LUA_OK ? t->nargs : 0;
    t->status = VMCTL_TASK_RUNNING;
    st->current = t;
    int status = lua_resume(t->co, L, nargs, &results);
    st->current = NULL;
    if (status != LUA_YIELD) {
        task_finish(L, t, status != LUA_OK, results);
    } else if (t->status == VMCTL_TASK_RUNNING) { /* its own coroutine.yield: nobody is there to take the values */
        lua_settop(t->co, 0);
        luaL_traceback(t->co, t->co, "a task called coroutine.yield: a generator in a task is made with vmctl.wrap", 0);
        task_finish(L, t, true, 1);
    }
}

/* Who becomes ready meanwhile runs in the next round. */
static void run_ready(lua_State *L, struct vmctl_lua *st)
{
    struct vmctl_task *t = st->ready;
    st->ready = NULL;
    st->ready_tail = &st->ready;
    while (t) {
        struct vmctl_task *next = t->next_ready;
        t->queued = false;
        t->next_ready = NULL;
        task_resume(L, t);
        t = next;
    }
}

struct drive {
    struct vmctl_lua *st;
    double until;
    bool (*done)(struct vmctl_lua *);
    bool once, alive;
};

static int drive_rounds(lua_State *L)
{
    struct drive *d = lua_touserdata(L, 1);
    struct vmctl_lua *st = d->st;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &st->living);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &st->free_places);
    st->tables = 2;
    for (;;) {
        int rounds = 0;
        do {
            run_ready(L, st);
            if (d->done && d->done(st))
                return 0;
        } while (st->ready && !d->once && ++rounds < TASK_ROUNDS);
        d->alive = vmctl_loop_poll(&st->loop, st->ready ? -INFINITY : d->until) || st->ready;
        if (d->once)
            run_ready(L, st);
        if (d->once || !d->alive || (d->done && d->done(st)) || (!isinf(d->until) && vmctl_loop_now(&st->loop) >= d->until))
            return 0;
    }
}

/* Rounds of tasks and events until `done`, until a time, or once. False: nothing is left that could ever happen. */
bool vmctl_drive(lua_State *L, struct vmctl_lua *st, double until, bool (*done)(struct vmctl_lua *), bool once)
{
    struct drive d = { st, until, done, once, true };
    luaL_checkstack(L, LUA_MINSTACK, "driving the loop");
    st->driver = L;
    lua_pushcfunction(L, drive_rounds);
    lua_pushlightuserdata(L, &d);
    int status = lua_pcall(L, 1, 0, 0); /* tasks catch their own errors: only a lack of memory ends up here */
    st->driver = NULL;
    st->current = NULL;
    if (status != LUA_OK)
        lua_error(L);
    return d.alive;
}
