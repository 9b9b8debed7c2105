/* The three values of a failed call. */
#include "lua/fail.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>

int vmctl_fail(lua_State *L, int err, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return vmctl_fail_text(L, err, "%s: %s", what, vmctl_error_text(err));
}

int vmctl_fail_text(lua_State *L, int err, const char *fmt, ...)
{
    char text[768];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (err == -ENOMEM)
        luaL_error(L, "not enough memory");
    lua_pushnil(L);
    lua_pushstring(L, text);
    lua_pushstring(L, vmctl_error_name(err));
    return 3;
}
