/* Generators: a coroutine inside a task, whose own yields go to its caller and whose waits go through to the loop. */
#include "lua/classes.h"
#include "lua/state.h"

enum { WRAP_THREAD = 1, WRAP_WAITING = 2 }; /* upvalues: the coroutine; is a task waiting in it? */

static int wrap_resume(lua_State *L, lua_State *co, int nargs);

static int wrap_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return wrap_resume(L, lua_tothread(L, lua_upvalueindex(WRAP_THREAD)), 0);
}

static int wrap_fail(lua_State *L, lua_State *co)
{
    if (lua_type(co, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_xmove(co, L, 1);
        lua_concat(L, 2);
    } else {
        lua_xmove(co, L, 1);
    }
    lua_resetthread(co);
    lua_settop(co, 0); /* the mark of a dead one */
    return lua_error(L);
}

static int wrap_resume(lua_State *L, lua_State *co, int nargs)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_task *t = vmctl_task_here(st, L); /* NULL, in a foreign coroutine: then it runs, but cannot wait */
    bool pinned = t && t->pinned;
    int results;
    if (t) {
        t->running = co;
        t->pinned = pinned || (t->co && !lua_isyieldable(L));
    }
    int status = lua_resume(co, L, nargs, &results);
    if (t) {
        t->running = L;
        t->pinned = pinned;
    }
    bool waits = status == LUA_YIELD && t && t->co && t->status != VMCTL_TASK_RUNNING;
    lua_pushboolean(L, waits);
    lua_replace(L, lua_upvalueindex(WRAP_WAITING));
    if (waits)
        return lua_yieldk(L, 0, 0, wrap_continue); /* the task is parked already */
    if (status != LUA_OK && status != LUA_YIELD)
        return wrap_fail(L, co);
    luaL_checkstack(L, results, "too many results");
    lua_xmove(co, L, results);
    return results;
}

static int l_wrap_call(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(WRAP_THREAD));
    lua_Debug frame;
    if (lua_toboolean(L, lua_upvalueindex(WRAP_WAITING)))
        return luaL_error(L, "a generator that another task is waiting in");
    if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame))
        return luaL_error(L, "a generator that is running already");
    if (lua_status(co) == LUA_OK && lua_gettop(co) == 0)
        return luaL_error(L, "cannot resume dead generator");
    int nargs = lua_gettop(L);
    if (!lua_checkstack(co, nargs))
        return luaL_error(L, "too many arguments");
    lua_xmove(L, co, nargs);
    return wrap_resume(L, co, nargs);
}

/* A parked coroutine that waits in a generator has the call of it on top. */
void vmctl_wrap_close(lua_State *co)
{
    lua_Debug top;
    if (!lua_checkstack(co, 2) || !lua_getstack(co, 0, &top))
        return;
    lua_getinfo(co, "f", &top);
    lua_State *inner = NULL;
    if (lua_tocfunction(co, -1) == l_wrap_call) {
        lua_getupvalue(co, -1, WRAP_THREAD);
        inner = lua_tothread(co, -1);
        lua_pop(co, 1);
    }
    lua_pop(co, 1);
    if (inner) {
        vmctl_wrap_close(inner);
        lua_resetthread(inner);
    }
}

static int l_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushboolean(L, 0);
    lua_pushcclosure(L, l_wrap_call, 2);
    return 1;
}

void vmctl_wrap_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "wrap", l_wrap }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
