/* The class vmctl.Task, and the functions that make tasks and wait for time. */
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"

#include <errno.h>
#include <math.h>

static struct vmctl_task *task_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, VMCTL_TASK);
}

static struct vmctl_task *task_new(lua_State *L, struct vmctl_lua *st)
{
    struct vmctl_task *t = lua_newuserdatauv(L, sizeof *t, 1);
    vmctl_task_init(t, st);
    luaL_setmetatable(L, VMCTL_TASK);
    return t;
}

/* Makes a task of the function at `at` and the arguments above it, which the task replaces on the stack. */
static int task_spawn(lua_State *L, struct vmctl_lua *st, struct vmctl_scope *scope, int at)
{
    int nargs = lua_gettop(L) - at;
    struct vmctl_task *t = task_new(L, st);
    lua_insert(L, at);
    const struct vmctl_task *parent = st->current ? st->current : &st->root;
    t->limit = parent->limit;
    vmctl_task_launch(L, at, nargs);
    vmctl_scope_enter(scope, t);
    return 1;
}

/* (function, arguments ...) -> task of the innermost scope here. */
static int l_spawn_here(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TFUNCTION)
        return luaL_error(L, "spawn: a function expected, got %s", lua_isnone(L, 1) ? "nil" : luaL_typename(L, 1));
    struct vmctl_lua *st = vmctl_lua_get(L);
    return task_spawn(L, st, vmctl_scope_here(st), 1);
}

/* (scope, function, arguments ...) -> task. The scope is one, nil (the innermost here) or true: no scope, for a background task that may
 * last as long as the Lua state, without the time limit of the task that starts it. */
static int l_spawn(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    bool background = lua_type(L, 1) == LUA_TBOOLEAN;
    struct vmctl_scope *scope = background        ? st->root_scope
                                : lua_isnil(L, 1) ? vmctl_scope_here(st)
                                                  : vmctl_scope_check(L, 1);
    luaL_argcheck(L, scope->owner || scope == st->root_scope, 1, "the scope has ended");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    task_spawn(L, st, scope, 2);
    if (background)
        ((struct vmctl_task *)lua_touserdata(L, -1))->limit = INFINITY;
    return 1;
}

static int task_join(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_task *t = lua_touserdata(L, 1); /* l_task_join has checked it */
    struct vmctl_lua *st = t->state;
    if (t->status < VMCTL_TASK_DONE) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, INFINITY);
        else if (vmctl_why(st, L) != 0)
            return vmctl_fail(L, vmctl_why(st, L), "join a task");
        return vmctl_park(st, L, &t->joiners, 2, status, ctx, task_join);
    }
    int n = t->nargs;
    if (!t->co) { /* it has kept its one result, if there is one */
        lua_getiuservalue(L, 1, VMCTL_TASK_VALUE);
        return t->status == VMCTL_TASK_FAILED ? lua_error(L) : n;
    }
    if (!lua_checkstack(L, n + 1) || !lua_checkstack(t->co, n + 1))
        return luaL_error(L, "too many results");
    int top = lua_gettop(t->co);
    for (int i = top - n + 1; i <= top; i++)
        lua_pushvalue(t->co, i);
    lua_xmove(t->co, L, n);
    return t->status == VMCTL_TASK_FAILED ? lua_error(L) : n;
}

static int l_task_join(lua_State *L)
{
    struct vmctl_task *t = task_check(L, 1);
    if (t == vmctl_task_here(t->state, L))
        return luaL_error(L, "a task that joins itself");
    lua_settop(L, 2);
    return task_join(L, LUA_OK, 0);
}

static int l_task_cancel(lua_State *L)
{
    vmctl_task_cancel(task_check(L, 1));
    return 0;
}

static int l_task_status(lua_State *L)
{
    static const char *const names[] = { "ready", "running", "waiting", "done", "failed" };
    lua_pushstring(L, names[task_check(L, 1)->status]);
    return 1;
}

static int yield_over(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_pushboolean(L, 1);
    return 1;
}

static int l_yield(lua_State *L)
{
    return vmctl_pause(vmctl_lua_get(L), L, 0, yield_over);
}

/* For Lua code that works without waiting: yields, but only once in a while. */
static int l_turn(lua_State *L)
{
    return vmctl_must_pause(vmctl_lua_get(L), L) ? l_yield(L) : yield_over(L, LUA_OK, 0);
}

static int sleep_over(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (status == LUA_OK)
        return vmctl_park(st, L, NULL, 1, status, ctx, sleep_over);
    struct vmctl_task *t = vmctl_task_of(st, L);
    if (t->why != -ETIMEDOUT && t->why != 0)
        return vmctl_fail(L, t->why, "sleep");
    if (t->limit < lua_tonumber(L, 2))
        return vmctl_fail(L, -ETIMEDOUT, "sleep");
    lua_pushboolean(L, 1);
    return 1;
}

static int l_sleep(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    lua_settop(L, 1);
    vmctl_set_deadline(vmctl_lua_get(L), L, 1, 0);
    lua_pushnumber(L, vmctl_loop_now(&vmctl_lua_get(L)->loop) + seconds); /* a limit that is earlier makes it a time-out */
    if (seconds <= 0)
        return vmctl_pause(vmctl_lua_get(L), L, 0, sleep_over);
    return sleep_over(L, LUA_OK, 0);
}

/* (seconds) -> the limit before, as an absolute time: bounds all waits of this task. (nil, limit): restores it. */
static int l_limit(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (lua_isnil(L, 1)) {
        struct vmctl_task *here = vmctl_task_here(st, L); /* NULL: the task is being ended from outside */
        if (here) {
            here->limit = luaL_checknumber(L, 2);
            vmctl_task_forgive(here);
        }
        return 0;
    }
    struct vmctl_task *t = vmctl_task_of(st, L);
    lua_pushnumber(L, t->limit);
    t->limit = vmctl_deadline(st, L, 1, INFINITY);
    return 1;
}

/* (seconds) -> the end of a wait that begins now, as an absolute time; the task's limit counts as well. */
static int l_deadline(lua_State *L)
{
    lua_pushnumber(L, vmctl_deadline(vmctl_lua_get(L), L, 1, INFINITY));
    return 1;
}

static int l_current(lua_State *L)
{
    lua_pushboolean(L, vmctl_lua_get(L)->current != NULL);
    return 1;
}

void vmctl_task_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "join", l_task_join }, { "cancel", l_task_cancel }, { "status", l_task_status }, { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = { { "spawn", l_spawn }, { "spawn_here", l_spawn_here }, { "yield", l_yield },
                                          { "turn", l_turn }, { "sleep", l_sleep }, { "limit", l_limit }, { "deadline", l_deadline },
                                          { "in_task", l_current }, { NULL, NULL } };
    vmctl_class(L, VMCTL_TASK, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
