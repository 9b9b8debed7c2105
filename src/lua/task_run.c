/* Running tasks: rounds of ready tasks and of the loop's events. Only this file and task_wrap.c resume coroutines. */
#include "lua/classes.h"
#include "lua/interrupt.h"
#include "lua/state.h"
#include "lua/task.h"

#include <math.h>
#include <string.h>

enum { TASK_ROUNDS = 4 /* of tasks that wake each other, before the loop is asked for events */ };

/* The living tasks are held by a table, so that one without other references is not collected while it waits. A free place of it has the
 * number of the next one: to give one back takes no memory. */
static void task_unanchor(lua_State *L, struct vmctl_task *t)
{
    struct vmctl_lua *st = t->state;
    lua_pushinteger(L, st->free_place);
    lua_rawseti(L, st->table, t->anchor);
    st->free_place = t->anchor;
    t->anchor = 0;
}

static void task_anchor(lua_State *L, struct vmctl_lua *st, struct vmctl_task *t, int task_at)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &st->living);
    if (st->free_place) {
        t->anchor = st->free_place;
        lua_rawgeti(L, -1, t->anchor);
        st->free_place = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
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

/* The body of a task's coroutine: a protected call of its function, so that the <close> variables that an error passes
 * run in the living task, where they may wait. */
static int task_body(lua_State *L)
{
    int nargs = lua_gettop(L) - 2; /* below them: task_traceback, the function */
    return task_body_ended(L, lua_pcallk(L, nargs, LUA_MULTRET, 1, 0, task_body_ended), 0);
}

/* Its function and the arguments, which are taken off L, begin to run when it is resumed. */
static void task_make_thread(lua_State *L, struct vmctl_task *t, int task_at, int nargs)
{
    lua_State *co = lua_newthread(L);
    lua_setiuservalue(L, task_at, VMCTL_TASK_VALUE);
    if (nargs + 3 > LUA_MINSTACK && !lua_checkstack(co, nargs + 3))
        luaL_error(L, "too many arguments");
    lua_pushcfunction(co, task_body);
    lua_pushcfunction(co, task_traceback);
    lua_xmove(L, co, nargs + 1);
    t->co = t->running = co;
    t->nargs = nargs + 2;
}

/* A function without arguments gets its coroutine when the task begins: until then it takes no memory, and the collector need not look at
 * it. Not where a hook would be inherited. */
void vmctl_task_launch(lua_State *L, int task_at, int nargs)
{
    struct vmctl_task *t = lua_touserdata(L, task_at);
    if (nargs > 0 || lua_gethook(L))
        task_make_thread(L, t, task_at, nargs);
    else
        lua_setiuservalue(L, task_at, VMCTL_TASK_VALUE);
    task_anchor(L, t->state, t, task_at);
    vmctl_task_queue(t);
}

/* The driver's hook is not for it. */
static void task_begin(lua_State *L, struct vmctl_task *t)
{
    lua_rawgeti(L, t->state->table, t->anchor);
    int task_at = lua_gettop(L);
    lua_getiuservalue(L, task_at, VMCTL_TASK_VALUE);
    task_make_thread(L, t, task_at, 0);
    lua_sethook(t->co, NULL, 0, 0);
    lua_settop(L, task_at - 1);
}

/* Leaves the error alone on the coroutine's stack. */
static void task_bury(lua_State *L, lua_State *co)
{
    lua_xmove(co, L, 1);
    lua_resetthread(co);
    lua_settop(co, 0);
    lua_xmove(L, co, 1);
}

/* Drops the coroutine, which is much larger than one result: a task that was not joined yet keeps only its result. */
static void task_keep_result(lua_State *L, struct vmctl_task *t)
{
    if (t->nargs > 1)
        return;
    lua_rawgeti(L, t->state->table, t->anchor);
    if (t->nargs == 1)
        lua_xmove(t->co, L, 1);
    else
        lua_pushnil(L);
    lua_setiuservalue(L, -2, VMCTL_TASK_VALUE);
    lua_pop(L, 1);
    t->co = t->running = NULL;
}

static void task_finish(lua_State *L, struct vmctl_task *t, bool failed, int results)
{
    vmctl_timer_stop(&t->state->loop, &t->timer);
    if (failed)
        task_bury(L, t->co);
    t->nargs = failed ? 1 : results; /* lua_resume counts what lay below the error as well */
    t->status = failed ? VMCTL_TASK_FAILED : VMCTL_TASK_DONE;
    /* A cancelled task ends as it can, most often by an assert on a wait that was refused: that is no failure of the scope. */
    bool unheard = failed && !t->cancelled && !vmctl_waitq_busy(&t->joiners);
    vmctl_wake_all(&t->joiners, 0);
    if (unheard) {
        lua_pushvalue(t->co, -1);
        lua_xmove(t->co, L, 1);
    }
    vmctl_scope_leave(L, t, unheard);
    task_keep_result(L, t);
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
    } else if (t->status == VMCTL_TASK_RUNNING) { /* its own coroutine.yield: there is no caller to take the values */
        lua_settop(t->co, 0);
        luaL_traceback(t->co, t->co, "a task called coroutine.yield: a generator in a task is made with vmctl.wrap", 0);
        task_finish(L, t, true, 1);
    }
}

/* Tasks that become ready meanwhile run in the next round. One stays in the queue until it has its coroutine: for that the memory may be
 * short. */
static void run_ready(lua_State *L, struct vmctl_lua *st)
{
    const struct vmctl_task *last = st->ready ? VMCTL_CONTAINER(st->ready_tail, struct vmctl_task, next_ready) : NULL, *now = NULL;
    while (now != last) {
        struct vmctl_task *t = st->ready;
        if (!t->co)
            task_begin(L, t);
        now = t;
        st->ready = t->next_ready;
        if (!st->ready)
            st->ready_tail = &st->ready;
        t->queued = false;
        t->next_ready = NULL;
        task_resume(L, t);
    }
}

struct drive {
    struct vmctl_lua *st;
    double until;
    bool (*done)(struct vmctl_lua *);
    bool once, alive;
};

static bool drive_is_over(lua_State *L, const struct drive *d)
{
    if (vmctl_interrupt_pending(d->st) && vmctl_interrupt_hear(L, d->st))
        return true;
    if (!vmctl_loop_is_ours(&d->st->loop)) /* a task has called fork */
        luaL_error(L, "the child of a fork cannot go on with the tasks of its parent");
    return d->done && d->done(d->st);
}

static int drive_rounds(lua_State *L)
{
    struct drive *d = lua_touserdata(L, 1);
    struct vmctl_lua *st = d->st;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &st->living);
    st->table = 2;
    for (;;) {
        int rounds = 0;
        do {
            run_ready(L, st);
            if (drive_is_over(L, d))
                return 0;
        } while (st->ready && !d->once && ++rounds < TASK_ROUNDS);
        d->alive = vmctl_loop_poll(&st->loop, st->ready ? -INFINITY : d->until) || st->ready;
        if (d->once)
            run_ready(L, st);
        if (drive_is_over(L, d) || d->once || !d->alive || (!isinf(d->until) && vmctl_loop_now(&st->loop) >= d->until))
            return 0;
    }
}

/* Ends the wait of the plain script, before an error passes its call. */
static void drive_unpark_root(struct vmctl_lua *st)
{
    vmctl_list_remove(&st->root.waiter.link);
    st->root.status = VMCTL_TASK_RUNNING;
}

/* Rounds of tasks and events until `done`, until a time, once, or until an interrupt, which the caller then raises. False:
 * nothing is left that could ever happen. */
bool vmctl_drive(lua_State *L, struct vmctl_lua *st, double until, bool (*done)(struct vmctl_lua *), bool once)
{
    if (!vmctl_loop_is_ours(&st->loop)) {
        drive_unpark_root(st);
        luaL_error(L, "a wait in the child of a fork: it has only a copy of what its parent waits for");
    }
    struct drive d = { st, until, done, once, true };
    luaL_checkstack(L, LUA_MINSTACK, "driving the loop");
    st->driver = L;
    vmctl_interrupt_watch(st);
    lua_pushcfunction(L, drive_rounds);
    lua_pushlightuserdata(L, &d);
    int status = lua_pcall(L, 1, 0, 0); /* tasks catch their own errors: only a lack of memory ends up here */
    vmctl_interrupt_unwatch(st);
    st->driver = NULL;
    st->current = NULL;
    if (status != LUA_OK) {
        drive_unpark_root(st);
        lua_error(L);
    }
    return d.alive;
}

/* Ends tasks that still wait, newest first, so that their <close> variables run. */
void vmctl_task_end_all(lua_State *L, struct vmctl_lua *st)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &st->living) != LUA_TTABLE)
        return;
    for (int i = st->living; i > 0; i--) {
        lua_rawgeti(L, -1, i);
        struct vmctl_task *t = luaL_testudata(L, -1, VMCTL_TASK);
        if (t && t->co && t->status != VMCTL_TASK_RUNNING) {
            vmctl_list_remove(&t->waiter.link);
            vmctl_timer_stop(&st->loop, &t->timer);
            vmctl_wrap_close(t->co);
            lua_resetthread(t->co);
        }
        lua_pop(L, 1);
    }
}
