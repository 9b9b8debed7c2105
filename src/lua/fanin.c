/* The class vmctl.Fanin: the bytes of several streams leave as frames on one, and never become Lua strings. */
#include "io/fanin.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <math.h>

/* core.fanin(to, type, from, [type, from ...]) -> fanin. User values keep the streams alive. */
static int l_fanin_new(lua_State *L)
{
    struct vmctl_stream *to = &vmctl_stream_check(L, 1)->s;
    int n = lua_gettop(L);
    struct vmctl_fanin *f = lua_newuserdatauv(L, sizeof *f, 1 + VMCTL_FANIN_SOURCES);
    vmctl_fanin_init(f);
    luaL_setmetatable(L, VMCTL_FANIN);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    int err = 0;
    for (int i = 2; !err && i < n; i += 2) {
        struct vmctl_stream *from = &vmctl_stream_check(L, i + 1)->s;
        err = vmctl_fanin_add(f, from, vmctl_check_u32(L, i));
        lua_pushvalue(L, i + 1);
        lua_setiuservalue(L, -2, 1 + i / 2);
    }
    if (!err)
        err = vmctl_fanin_start(f, to);
    if (err)
        return vmctl_fail(L, err, "fan in to %s", vmctl_stream_name(to));
    return 1;
}

/* f:wait([timeout]) -> true once all sources have ended and their bytes are with the kernel */
static int fanin_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_fanin *f = luaL_checkudata(L, 1, VMCTL_FANIN);
    struct vmctl_lua *st = vmctl_lua_get(L);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (!f->over && !why) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, INFINITY);
        return vmctl_park(st, L, &f->waiters, 2, status, ctx, fanin_wait);
    }
    if (!why)
        why = f->err;
    if (why)
        return vmctl_fail(L, why, "write %s", vmctl_stream_name(f->to));
    lua_pushboolean(L, 1);
    return 1;
}

static int l_fanin_wait(lua_State *L)
{
    luaL_checkudata(L, 1, VMCTL_FANIN);
    lua_settop(L, 2);
    return fanin_wait(L, LUA_OK, 0);
}

static int l_fanin_idle(lua_State *L)
{
    lua_pushboolean(L, vmctl_fanin_idle(luaL_checkudata(L, 1, VMCTL_FANIN)));
    return 1;
}

/* f:drop(stream): closes that source, between two frames */
static int l_fanin_drop(lua_State *L)
{
    struct vmctl_fanin *f = luaL_checkudata(L, 1, VMCTL_FANIN);
    vmctl_fanin_drop(f, &vmctl_stream_check(L, 2)->s);
    return 0;
}

/* f:finish(): the frame that is half out is the last */
static int l_fanin_finish(lua_State *L)
{
    vmctl_fanin_finish(luaL_checkudata(L, 1, VMCTL_FANIN));
    return 0;
}

static int l_fanin_close(lua_State *L)
{
    vmctl_fanin_stop(luaL_checkudata(L, 1, VMCTL_FANIN), VMCTL_ECLOSED);
    return 0;
}

void vmctl_fanin_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "wait", l_fanin_wait },
                                        { "idle", l_fanin_idle },
                                        { "drop", l_fanin_drop },
                                        { "finish", l_fanin_finish },
                                        { "close", l_fanin_close },
                                        { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_fanin_close }, { "__close", l_fanin_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "fanin", l_fanin_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_FANIN, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
