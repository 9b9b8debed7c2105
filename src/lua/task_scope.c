/* The class vmctl.Scope: a scope does not end before its tasks have, and one task's failure ends them all. */
#include "lua/classes.h"
#include "lua/interrupt.h"
#include "lua/park.h"

#include <errno.h>

struct vmctl_scope *vmctl_scope_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, VMCTL_SCOPE);
}

static void scope_end(struct vmctl_scope *s)
{
    struct vmctl_task *owner = s->owner;
    if (!owner)
        return;
    struct vmctl_scope **p = &owner->inner;
    while (*p && *p != s)
        p = &(*p)->outer;
    if (*p)
        *p = s->outer;
    s->owner = NULL;
    vmctl_task_forgive(owner);
}

/* Raises in a foreign coroutine: the end of a scope is a wait. */
static int l_scope_open(lua_State *L)
{
    vmctl_scope_new(L, vmctl_task_of(vmctl_lua_get(L), L));
    return 1;
}

/* Waits for the tasks. Returns true, or false and the first error. */
static int scope_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_scope *s = vmctl_scope_check(L, 1);
    struct vmctl_lua *st = vmctl_lua_get(L);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (why == -EDEADLK || why == -EINTR) /* a plain script: nothing is left that could wake the tasks, or it is to end */
        vmctl_scope_cancel(s);
    if (s->live)
        return vmctl_park_shielded(st, L, &s->idle, status, ctx, scope_wait);
    scope_end(s);
    vmctl_interrupt_raise(L, st);
    lua_pushboolean(L, !s->failed);
    if (!s->failed)
        return 1;
    vmctl_scope_push_error(L, s);
    return 2;
}

static int l_scope_wait(lua_State *L)
{
    lua_settop(L, 1);
    return scope_wait(L, LUA_OK, 0);
}

static int l_scope_cancel(lua_State *L)
{
    vmctl_scope_cancel(vmctl_scope_check(L, 1));
    return 0;
}

/* Tells if it is open and empty, so that it can be reused: then many calls need no scope each. */
static int l_scope_idle(lua_State *L)
{
    const struct vmctl_scope *s = vmctl_scope_check(L, 1);
    lua_pushboolean(L, s->owner && !s->live && !s->failed && !s->cancelled);
    return 1;
}

/* A scope that is dropped (its owner's coroutine was) cannot wait: its tasks are cancelled and end in the root scope. */
static int l_scope_close(lua_State *L)
{
    struct vmctl_scope *s = vmctl_scope_check(L, 1);
    if (!s->live && !s->owner && !s->failed)
        return 0;
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (s == st->root_scope) /* the Lua state ends, and ends its tasks next */
        return 0;
    vmctl_scope_cancel_tasks(s);
    while (!vmctl_list_empty(&s->tasks)) {
        struct vmctl_task *t = VMCTL_CONTAINER(s->tasks.next, struct vmctl_task, link);
        vmctl_list_remove(&t->link);
        s->live--;
        vmctl_scope_enter(st->root_scope, t);
        t->cancelled = true;
    }
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    scope_end(s);
    return 0;
}

void vmctl_scope_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "wait", l_scope_wait }, { "cancel", l_scope_cancel }, { "idle", l_scope_idle },
                                       { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_scope_close }, { "__close", l_scope_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "scope", l_scope_open }, { NULL, NULL } };
    vmctl_class(L, VMCTL_SCOPE, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
