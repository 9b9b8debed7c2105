/* The class vmctl.Queue: tasks wait in it until they are woken. Channels, locks and events are made of it. */
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"

#include <math.h>

static int l_queue_new(lua_State *L)
{
    struct vmctl_waitq *q = lua_newuserdatauv(L, sizeof *q, 0);
    vmctl_waitq_init(q);
    luaL_setmetatable(L, VMCTL_QUEUE);
    return 1;
}

static int queue_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_waitq *q = luaL_checkudata(L, 1, VMCTL_QUEUE);
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (status == LUA_OK)
        return vmctl_park(st, L, q, 2, status, ctx, queue_wait);
    int why = vmctl_why(st, L);
    if (why)
        return vmctl_fail(L, why, "%s", luaL_optstring(L, 3, "wait"));
    lua_pushboolean(L, 1);
    return 1;
}

/* q:wait(timeout, what) -> true */
static int l_queue_wait(lua_State *L)
{
    luaL_checkudata(L, 1, VMCTL_QUEUE);
    lua_settop(L, 3);
    vmctl_set_deadline(vmctl_lua_get(L), L, 2, INFINITY);
    return queue_wait(L, LUA_OK, 0);
}

/* q:wake([n]) -> how many were woken (all, without n) */
static int l_queue_wake(lua_State *L)
{
    struct vmctl_waitq *q = luaL_checkudata(L, 1, VMCTL_QUEUE);
    lua_Integer most = luaL_optinteger(L, 2, LUA_MAXINTEGER), n = 0;
    while (n < most && vmctl_wake_one(q, 0))
        n++;
    lua_pushinteger(L, n);
    return 1;
}

void vmctl_queue_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "wait", l_queue_wait }, { "wake", l_queue_wake }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = { { "queue", l_queue_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_QUEUE, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
