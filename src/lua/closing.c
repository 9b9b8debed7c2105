/* Finds closing methods among the running functions. */
#include "lua/closing.h"

#include <lauxlib.h>
#include <string.h>

/* Tells if the function at `function` is the closing method of the value on top of the stack, or may have replaced it by a tail call.
 * Pops the value. */
static bool is_closed_by(lua_State *L, int function, const lua_Debug *frame)
{
    int top = lua_gettop(L);
    bool closes = luaL_getmetafield(L, -1, "__close") != LUA_TNIL && (frame->istailcall || lua_rawequal(L, -1, function));
    lua_settop(L, top - 1);
    return closes;
}

/* Lua calls a closing method by itself when a block ends, and says so; but for a tail call. */
static bool closes_block(lua_State *L, int function, const lua_Debug *frame)
{
    if (strcmp(frame->namewhat, "metamethod") == 0)
        return strcmp(frame->name, "close") == 0;
    return frame->istailcall && lua_getlocal(L, frame, 1) && is_closed_by(L, function, frame);
}

/* When an error passes, the caller is the protected call that it goes to; then the topmost of that function's values are the
 * variable and the error. */
static bool closes_behind_error(lua_State *L, int level, int function, const lua_Debug *frame)
{
    lua_Debug caller;
    int n = 0;
    if (!lua_getstack(L, level + 1, &caller) || !lua_getinfo(L, "S", &caller) || *caller.what != 'C')
        return false;
    while (lua_getlocal(L, &caller, n + 1)) {
        lua_pop(L, 1);
        n++;
    }
    return n >= 2 && lua_getlocal(L, &caller, n - 1) && is_closed_by(L, function, frame);
}

bool vmctl_is_closing(lua_State *L)
{
    lua_Debug frame;
    bool closing = false;
    int top = lua_gettop(L);
    luaL_checkstack(L, 4, "a wait");
    for (int level = 0; !closing && lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "nft", &frame);
        closing = closes_block(L, top + 1, &frame) || closes_behind_error(L, level, top + 1, &frame);
        lua_settop(L, top);
    }
    return closing;
}
