/* Where a Lua state keeps the state of the core: in its registry. */
#include "lua/state.h"

#include <lauxlib.h>

static const char state_key;

struct vmctl_lua *vmctl_lua_get(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    struct vmctl_lua *st = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!st || !st->open)
        luaL_error(L, "vmctl: the Lua state is being closed");
    return st;
}

void vmctl_lua_set(lua_State *L)
{
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

bool vmctl_lua_made(lua_State *L)
{
    bool made = lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) != LUA_TNIL;
    lua_pop(L, 1);
    return made;
}
