/* Scopes: a scope does not end before its tasks have, and one task's failure ends them all. */
#include "lua/state.h"

#include <errno.h>
#include <math.h>

/* The first error of a scope waits in the registry, under the scope's address. */

struct vmctl_scope *vmctl_scope_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, VMCTL_SCOPE);
}

struct vmctl_scope *vmctl_scope_new(lua_State *L, struct vmctl_task *owner)
{
    struct vmctl_scope *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct vmctl_scope){ .owner = owner };
    vmctl_list_init(&s->tasks);
    vmctl_waitq_init(&s->idle);
    luaL_setmetatable(L, VMCTL_SCOPE);
    if (owner) {
        s->cancelled = vmctl_scope_cancelled(owner);
        s->outer = owner->inner;
        owner->inner = s;
    }
    return s;
}

struct vmctl_scope *vmctl_scope_here(struct vmctl_lua *st)
{
    struct vmctl_task *t = st->current ? st->current : &st->root;
    if (t->inner)
        return t->inner;
    return t->scope ? t->scope : st->root_scope;
}

void vmctl_scope_enter(struct vmctl_scope *scope, struct vmctl_task *t)
{
    t->scope = scope;
    t->cancelled = scope->cancelled;
    scope->live++;
    vmctl_list_append(&scope->tasks, &t->link);
}

static void scope_fail(lua_State *L, struct vmctl_scope *s, struct vmctl_lua *st)
{
    if (s->failed) { /* the first error is the one that counts: the others are often only its consequences */
        lua_pop(L, 1);
        return;
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    s->failed = true;
    if (s == st->root_scope)
        st->orphans = true;
    else
        vmctl_scope_cancel(s);
}

void vmctl_scope_leave(lua_State *L, struct vmctl_task *t, bool failed)
{
    struct vmctl_scope *s = t->scope;
    vmctl_list_remove(&t->link);
    s->live--;
    if (failed)
        scope_fail(L, s, t->state);
    if (!s->live)
        vmctl_wake_all(&s->idle, 0);
}

bool vmctl_scope_cancelled(const struct vmctl_task *t)
{
    if (t->cancelled)
        return true;
    for (const struct vmctl_scope *s = t->inner; s; s = s->outer)
        if (s->cancelled)
            return true;
    return false;
}

static void scope_cancel_tasks(struct vmctl_scope *s)
{
    if (s->cancelled)
        return;
    s->cancelled = true;
    for (struct vmctl_list *n = s->tasks.next; n != &s->tasks; n = n->next)
        vmctl_task_cancel(VMCTL_CONTAINER(n, struct vmctl_task, link));
}

/* Also the scopes that its owner has opened inside it, and what the owner itself waits for. */
void vmctl_scope_cancel(struct vmctl_scope *scope)
{
    struct vmctl_task *owner = scope->owner;
    for (struct vmctl_scope *s = owner ? owner->inner : NULL; s && s != scope; s = s->outer)
        scope_cancel_tasks(s);
    scope_cancel_tasks(scope);
    if (owner)
        vmctl_task_interrupt(owner);
}

/* Raises the error of a task that was spawned outside of any scope, once. */
void vmctl_scope_raise_orphans(lua_State *L, struct vmctl_lua *st)
{
    if (!st->orphans)
        return;
    struct vmctl_scope *s = st->root_scope;
    st->orphans = s->failed = false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, s);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    lua_error(L);
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
}

/* Not in a stranger's coroutine: the end of a scope is a wait. */
static int l_scope_open(lua_State *L)
{
    vmctl_scope_new(L, vmctl_task_of(vmctl_lua_get(L), L));
    return 1;
}

/* Waits for the tasks. true, or false and the first error. */
static int scope_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_scope *s = vmctl_scope_check(L, 1);
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (status == LUA_YIELD && vmctl_why(st, L) == -EDEADLK) /* a plain script, and nothing left that could wake the tasks */
        vmctl_scope_cancel(s);
    if (s->live)
        return vmctl_park_shielded(st, L, &s->idle, status, ctx, scope_wait);
    scope_end(s);
    lua_pushboolean(L, !s->failed);
    if (!s->failed)
        return 1;
    lua_rawgetp(L, LUA_REGISTRYINDEX, s);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
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

/* Whether it is open, with nothing in it, and can go on as if it were new: who calls much by it needs no scope for each. */
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
    scope_cancel_tasks(s);
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
