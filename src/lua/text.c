/* Strings of Lua for calls that take C's, which end at a NUL byte. */
#include "lua/text.h"

#include "lua/fail.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

bool vmctl_is_text(lua_State *L, int at)
{
    size_t len;
    const char *text = lua_tolstring(L, at, &len);
    return text && strlen(text) == len;
}

const char *vmctl_check_text(lua_State *L, int arg)
{
    size_t len;
    const char *text = luaL_checklstring(L, arg, &len);
    return strlen(text) == len ? text : NULL;
}

const char *vmctl_opt_text(lua_State *L, int arg, const char *otherwise)
{
    return lua_isnoneornil(L, arg) ? otherwise : vmctl_check_text(L, arg);
}

const char *vmctl_push_shown(lua_State *L, int at)
{
    size_t len;
    const char *text = lua_tolstring(L, at, &len);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\0')
            luaL_addstring(&b, "\\0");
        else
            luaL_addchar(&b, text[i]);
    }
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

int vmctl_text_fail(lua_State *L, const char *what)
{
    int at = 1, last = lua_gettop(L);
    while (at < last && (lua_type(L, at) != LUA_TSTRING || vmctl_is_text(L, at)))
        at++;
    return vmctl_fail_text(L, -EINVAL, "%s %s: it has a NUL byte", what, vmctl_push_shown(L, at));
}
