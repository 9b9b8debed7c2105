/* Time-outs as users give them, as points in time. */
#include "lua/park.h"

#include <lauxlib.h>
#include <math.h>

static double timeout_value(lua_State *L, int arg, double otherwise)
{
    if (lua_type(L, arg) == LUA_TTABLE) {
        lua_getfield(L, arg, "timeout");
        bool number = lua_type(L, -1) == LUA_TNUMBER;
        if (!number && !lua_isnil(L, -1))
            luaL_error(L, "option 'timeout': number expected, got %s", luaL_typename(L, -1));
        double seconds = number ? lua_tonumber(L, -1) : otherwise;
        lua_pop(L, 1);
        return seconds;
    }
    return luaL_optnumber(L, arg, otherwise);
}

double vmctl_deadline(struct vmctl_lua *st, lua_State *L, int arg, double otherwise)
{
    double seconds = timeout_value(L, arg, otherwise);
    if (isnan(seconds))
        luaL_error(L, "a time-out is a number of seconds, got NaN");
    double limit = st->current ? st->current->limit : st->root.limit;
    double at = vmctl_loop_now(&st->loop) + fmax(seconds, 0); /* below 0 is past already; minus infinity as well */
    return at < limit ? at : limit;
}

void vmctl_set_deadline(struct vmctl_lua *st, lua_State *L, int at, double otherwise)
{
    double deadline = vmctl_deadline(st, L, at, otherwise);
    lua_pushnumber(L, deadline);
    lua_replace(L, at);
}
