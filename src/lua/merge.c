/* The class vmctl.Merge: the bytes of several streams leave as frames on one, and never become Lua strings. */
#include "io/merge.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <math.h>

/* core.merge(to, type, from, [type, from ...]) -> merge. User values keep the streams alive. */
static int l_merge_new(lua_State *L)
{
    struct vmctl_stream *to = &vmctl_stream_check(L, 1)->s;
    int n = lua_gettop(L);
    struct vmctl_merge *f = lua_newuserdatauv(L, sizeof *f, 1 + VMCTL_MERGE_SOURCES);
    vmctl_merge_init(f);
    luaL_setmetatable(L, VMCTL_MERGE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    int err = 0;
    for (int i = 2; !err && i < n; i += 2) {
        struct vmctl_stream *from = &vmctl_stream_check(L, i + 1)->s;
        err = vmctl_merge_add(f, from, vmctl_check_u32(L, i));
        lua_pushvalue(L, i + 1);
        lua_setiuservalue(L, -2, 1 + i / 2);
    }
    if (!err)
        err = vmctl_merge_start(f, to);
    if (err)
        return vmctl_fail(L, err, "fan in to %s", vmctl_stream_name(to));
    return 1;
}

/* f:wait([timeout]) -> true once all sources have ended and their bytes are with the kernel */
static int merge_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_merge *f = luaL_checkudata(L, 1, VMCTL_MERGE);
    struct vmctl_lua *st = vmctl_lua_get(L);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (!f->over && !why) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, INFINITY);
        return vmctl_park(st, L, &f->waiters, 2, status, ctx, merge_wait);
    }
    if (!why)
        why = f->err;
    if (why)
        return vmctl_fail(L, why, "write %s", vmctl_stream_name(f->to));
    lua_pushboolean(L, 1);
    return 1;
}

static int l_merge_wait(lua_State *L)
{
    luaL_checkudata(L, 1, VMCTL_MERGE);
    lua_settop(L, 2);
    return merge_wait(L, LUA_OK, 0);
}

static int l_merge_idle(lua_State *L)
{
    lua_pushboolean(L, vmctl_merge_idle(luaL_checkudata(L, 1, VMCTL_MERGE)));
    return 1;
}

/* f:drop(stream): closes that source, between two frames */
static int l_merge_drop(lua_State *L)
{
    struct vmctl_merge *f = luaL_checkudata(L, 1, VMCTL_MERGE);
    vmctl_merge_drop(f, &vmctl_stream_check(L, 2)->s);
    return 0;
}

/* f:finish(): ends it after the frame that is partly written */
static int l_merge_finish(lua_State *L)
{
    vmctl_merge_finish(luaL_checkudata(L, 1, VMCTL_MERGE));
    return 0;
}

static int l_merge_close(lua_State *L)
{
    vmctl_merge_stop(luaL_checkudata(L, 1, VMCTL_MERGE), VMCTL_ECLOSED);
    return 0;
}

void vmctl_merge_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "wait", l_merge_wait },
                                        { "idle", l_merge_idle },
                                        { "drop", l_merge_drop },
                                        { "finish", l_merge_finish },
                                        { "close", l_merge_close },
                                        { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_merge_close }, { "__close", l_merge_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "merge", l_merge_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_MERGE, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
