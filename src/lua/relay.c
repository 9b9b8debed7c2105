/* The class vmctl.Relay: copies bytes between two streams in both directions; they never become Lua strings. */
#include "io/relay.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <math.h>

enum { RELAY_STREAMS = 2 }; /* user values: the streams a and b while a trace is recorded; behind them the same, always */

/* Binds the streams 1 and 2 to the relay on top: hang_up of one of them ends the relay. */
static void relay_bind(lua_State *L)
{
    for (int i = 1; i <= RELAY_STREAMS; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, -2, RELAY_STREAMS + i);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, i, VMCTL_STREAM_RELAY);
    }
}

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
    struct vmctl_relay *r = lua_newuserdatauv(L, sizeof *r, 2 * RELAY_STREAMS);
    vmctl_relay_init(r, &st->loop);
    luaL_setmetatable(L, VMCTL_RELAY);
    int err = vmctl_relay_start(r, a, b, idle, linger);
    if (err)
        return vmctl_fail(L, err, "relay %s and %s", vmctl_stream_name(a), vmctl_stream_name(b));
    for (int i = 1; i <= RELAY_STREAMS && st->traced; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, -2, i);
    }
    relay_bind(L);
    return 1;
}

static void relay_stats(lua_State *L, const struct vmctl_relay *r)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)r->direction[0].bytes);
    lua_setfield(L, -2, "a_to_b");
    lua_pushinteger(L, (lua_Integer)r->direction[1].bytes);
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
            uint64_t in = r->direction[i - 1].bytes, out = r->direction[RELAY_STREAMS - i].bytes;
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

void vmctl_relay_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "wait", l_relay_wait }, { "stats", l_relay_stats }, { "close", l_relay_close }, { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { "__gc", l_relay_close }, { "__close", l_relay_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "relay", l_relay_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_RELAY, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
