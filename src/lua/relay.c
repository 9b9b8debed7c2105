/* vmctl.Relay and the fan-in: bytes that never become Lua strings. */
#include "io/fanin.h"
#include "io/relay.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>
#include <math.h>

enum { RELAY_STREAMS = 2 }; /* user values, set while a trace is recorded: the streams a and b */

/* core.relay(a, b, [idle], [linger]) -> relay */
static int l_relay_new(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_stream *a = &vmctl_stream_check(L, 1)->s, *b = &vmctl_stream_check(L, 2)->s;
    luaL_argcheck(L, a != b, 2, "a stream cannot be relayed to itself");
    double idle = luaL_optnumber(L, 3, INFINITY), linger = luaL_optnumber(L, 4, INFINITY);
    luaL_argcheck(L, idle > 0, 3, "a number of seconds above 0 expected");
    luaL_argcheck(L, linger > 0, 4, "a number of seconds above 0 expected");
    int busy = vmctl_stream_busy(L, a, &a->readers, "relay");
    if (!busy)
        busy = vmctl_stream_busy(L, a, &a->writers, "relay");
    if (!busy)
        busy = vmctl_stream_busy(L, b, &b->readers, "relay");
    if (!busy)
        busy = vmctl_stream_busy(L, b, &b->writers, "relay");
    if (busy)
        return busy;
    struct vmctl_relay *r = lua_newuserdatauv(L, sizeof *r, RELAY_STREAMS);
    vmctl_relay_init(r, &st->loop);
    luaL_setmetatable(L, VMCTL_RELAY);
    int err = vmctl_relay_start(r, a, b, idle, linger);
    if (err)
        return vmctl_fail(L, err, "relay %s and %s", vmctl_stream_name(a), vmctl_stream_name(b));
    for (int i = 1; i <= RELAY_STREAMS && st->traced; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, -2, i);
    }
    return 1;
}

static void relay_stats(lua_State *L, const struct vmctl_relay *r)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)r->way[0].bytes);
    lua_setfield(L, -2, "a_to_b");
    lua_pushinteger(L, (lua_Integer)r->way[1].bytes);
    lua_setfield(L, -2, "b_to_a");
    lua_pushboolean(L, r->over);
    lua_setfield(L, -2, "over");
}

/* r:wait([timeout]) -> stats; on failure they are the fourth value */
static int relay_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_relay *r = luaL_checkudata(L, 1, VMCTL_RELAY);
    struct vmctl_lua *st = VMCTL_CONTAINER(r->loop, struct vmctl_lua, loop);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (!r->over && !why) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, INFINITY);
        return vmctl_park(st, L, &r->waiters, 2, status, ctx, relay_wait);
    }
    if (!why)
        why = r->err;
    if (why)
        vmctl_fail(L, why, "relay");
    relay_stats(L, r);
    return why ? 4 : 1;
}

static int l_relay_wait(lua_State *L)
{
    luaL_checkudata(L, 1, VMCTL_RELAY);
    lua_settop(L, 2);
    return relay_wait(L, LUA_OK, 0);
}

static int l_relay_stats(lua_State *L)
{
    relay_stats(L, luaL_checkudata(L, 1, VMCTL_RELAY));
    return 1;
}

/* Tells a trace what each stream carried, once. */
static void relay_trace(lua_State *L, const struct vmctl_relay *r)
{
    for (int i = 1; i <= RELAY_STREAMS; i++) {
        if (lua_getiuservalue(L, 1, i) == LUA_TUSERDATA) {
            uint64_t in = r->way[i - 1].bytes, out = r->way[RELAY_STREAMS - i].bytes;
            vmctl_trace_counts(L, &vmctl_stream_check(L, -1)->s, -1, "relayed", in, out);
            lua_pushnil(L);
            lua_setiuservalue(L, 1, i);
        }
        lua_pop(L, 1);
    }
}

static int l_relay_close(lua_State *L)
{
    struct vmctl_relay *r = luaL_checkudata(L, 1, VMCTL_RELAY);
    vmctl_relay_close(r, VMCTL_ECLOSED);
    relay_trace(L, r);
    return 0;
}

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
        err = vmctl_fanin_add(f, from, (uint32_t)luaL_checkinteger(L, i));
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

void vmctl_relay_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "wait", l_relay_wait }, { "stats", l_relay_stats }, { "close", l_relay_close }, { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { "__gc", l_relay_close }, { "__close", l_relay_close }, { NULL, NULL } };
    static const luaL_Reg fanin_methods[] = { { "wait", l_fanin_wait },
                                              { "idle", l_fanin_idle },
                                              { "drop", l_fanin_drop },
                                              { "finish", l_fanin_finish },
                                              { "close", l_fanin_close },
                                              { NULL, NULL } };
    static const luaL_Reg fanin_meta[] = { { "__gc", l_fanin_close }, { "__close", l_fanin_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "relay", l_relay_new }, { "fanin", l_fanin_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_RELAY, methods, meta);
    vmctl_class(L, VMCTL_FANIN, fanin_methods, fanin_meta);
    luaL_setfuncs(L, functions, 0);
}
