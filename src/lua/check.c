/* Checks integers of Lua before they become narrower ones of C. */
#include "lua/check.h"

#include <lauxlib.h>
#include <limits.h>

lua_Integer vmctl_check_range(lua_State *L, int arg, lua_Integer least, lua_Integer most)
{
    lua_Integer v = luaL_checkinteger(L, arg);
    if (v < least || v > most)
        luaL_argerror(L, arg, lua_pushfstring(L, "a number from %I to %I expected, got %I", least, most, v));
    return v;
}

int vmctl_check_fd(lua_State *L, int arg)
{
    return (int)vmctl_check_range(L, arg, 0, INT_MAX);
}

uint32_t vmctl_check_u32(lua_State *L, int arg)
{
    return (uint32_t)vmctl_check_range(L, arg, 0, UINT32_MAX);
}

size_t vmctl_size_clamp(lua_Integer bytes)
{
    const lua_Integer most = SIZE_MAX / 4;
    return (size_t)(bytes < most ? bytes : most);
}
