/* The class vmctl.Format: how the frames of a stream are laid out, and how long they may be. */
#include "lua/classes.h"
#include "lua/stream.h"

#include <string.h>

/* User value 1 holds the limits array, which the struct points into. */

static lua_Integer format_field(lua_State *L, int arg, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, arg, name);
    lua_Integer v = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return v;
}

static void format_limits(lua_State *L, int arg, struct vmctl_frame_format *f)
{
    enum { LIMITS = 256 };
    if (lua_getfield(L, arg, "limits") != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    uint32_t *limits = lua_newuserdatauv(L, LIMITS * sizeof *limits, 0);
    for (uint32_t i = 0; i < LIMITS; i++)
        limits[i] = f->max;
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_Integer type = luaL_checkinteger(L, -2), limit = luaL_checkinteger(L, -1);
        if (type < 0 || type >= LIMITS || limit < 0 || limit > UINT32_MAX)
            luaL_error(L, "limits: a type below %d and a limit of 32 bits expected", LIMITS);
        limits[type] = (uint32_t)limit;
        lua_pop(L, 1);
    }
    f->limits = limits;
    f->nlimits = LIMITS;
    lua_setiuservalue(L, -3, 1);
    lua_pop(L, 1);
}

/* core.format { type = 0|1|2, length = 4, max = n, limits = { [type] = n }, order = "type"|"length", stream = 0|4,
 * flags = 0|1 } */
static int l_format(lua_State *L)
{
    static const char *const known[] = { "type", "length", "max", "limits", "order", "stream", "flags", NULL };
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *const *k = known;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return luaL_error(L, "unknown option '%s' of a frame format", key);
    }
    lua_getfield(L, 1, "order");
    enum vmctl_frame_order order =
        strcmp(luaL_optstring(L, -1, "type"), "length") == 0 ? VMCTL_FRAME_LENGTH_FIRST : VMCTL_FRAME_TYPE_FIRST;
    lua_Integer max = format_field(L, 1, "max", -1);
    if (max < 0 || max > UINT32_MAX || format_field(L, 1, "length", 4) != 4)
        return luaL_error(L, "a frame format has a length of 4 bytes and a max of 32 bits");
    struct vmctl_frame_format *f = lua_newuserdatauv(L, sizeof *f, 1);
    int err = vmctl_frame_layout(f, order, (unsigned)format_field(L, 1, "type", 0),
                                 (unsigned)format_field(L, 1, "stream", 0), (unsigned)format_field(L, 1, "flags", 0),
                                 (uint32_t)max);
    if (err)
        return luaL_error(L, "a frame format with a field of a width that no frame has");
    luaL_setmetatable(L, VMCTL_FORMAT);
    format_limits(L, 1, f);
    return 1;
}

const struct vmctl_frame_format *vmctl_format_check(lua_State *L, int arg)
{
    if (lua_istable(L, arg)) {
        lua_pushcfunction(L, l_format);
        lua_pushvalue(L, arg);
        lua_call(L, 1, 1);
    } else {
        lua_pushvalue(L, arg);
    }
    return luaL_checkudata(L, -1, VMCTL_FORMAT);
}

void vmctl_format_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = { { "format", l_format }, { NULL, NULL } };
    vmctl_class(L, VMCTL_FORMAT, none, none);
    luaL_setfuncs(L, functions, 0);
}
