/* Lua values to JSON, as vmctl.json.encode writes them: short ones with nothing that it has to look at twice. */
#include "lua/classes.h"

#include <stdbool.h>
#include <string.h>

enum {
    WRITE_DEPTH = 16,
    WRITE_SIZE = 2048,
    WRITE_LIST = 2, /* stack slots: the metatables that mark a list and an object */
    WRITE_OBJECT = 3
};

struct writer {
    char text[WRITE_SIZE];
    size_t len;
};

static bool write_value(lua_State *L, struct writer *w, int depth);

static bool write_bytes(struct writer *w, const char *bytes, size_t n)
{
    if (n > sizeof w->text - w->len)
        return false;
    memcpy(w->text + w->len, bytes, n);
    w->len += n;
    return true;
}

static bool write_char(struct writer *w, char c)
{
    return write_bytes(w, &c, 1);
}

/* ASCII without control characters. */
static bool write_string(lua_State *L, struct writer *w, int at)
{
    size_t len;
    const char *s = lua_tolstring(L, at, &len);
    if (len > sizeof w->text || !write_char(w, '"'))
        return false;
    for (size_t i = 0; i < len; i++) {
        bool quoted = s[i] == '"' || s[i] == '\\';
        if ((signed char)s[i] < ' ' || s[i] == 127 || (quoted && !write_char(w, '\\')) || !write_char(w, s[i]))
            return false;
    }
    return write_char(w, '"');
}

static bool write_integer(struct writer *w, lua_Integer n)
{
    char digits[24], *at = digits + sizeof digits;
    lua_Unsigned rest = n < 0 ? 0U - (lua_Unsigned)n : (lua_Unsigned)n;
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (n < 0)
        *--at = '-';
    return write_bytes(w, at, (size_t)(digits + sizeof digits - at));
}

/* As many members as the last index says: one that lacks means one that is none. */
static bool write_list(lua_State *L, struct writer *w, int depth)
{
    lua_Integer count = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        count++;
    if (!write_char(w, '['))
        return false;
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        if ((i > 1 && !write_char(w, ',')) || !write_value(L, w, depth))
            return false;
        lua_pop(L, 1);
    }
    return write_char(w, ']');
}

static bool write_object(lua_State *L, struct writer *w, int depth)
{
    char before = '{';
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !write_char(w, before) || !write_string(L, w, -2) || !write_char(w, ':') ||
            !write_value(L, w, depth))
            return false;
        before = ',';
    }
    return (before == ',' || write_char(w, '{')) && write_char(w, '}');
}

static bool write_table(lua_State *L, struct writer *w, int depth)
{
    bool list = false, object = false;
    if (depth == WRITE_DEPTH)
        return false;
    if (lua_getmetatable(L, -1)) {
        list = lua_rawequal(L, -1, WRITE_LIST);
        object = lua_rawequal(L, -1, WRITE_OBJECT);
        lua_pop(L, 1);
        if (!list && !object)
            return false;
    }
    if (!list && !object) {
        list = lua_rawgeti(L, -1, 1) != LUA_TNIL;
        lua_pop(L, 1);
    }
    return list ? write_list(L, w, depth) : write_object(L, w, depth);
}

/* The value on top of the stack, which stays there. */
static bool write_value(lua_State *L, struct writer *w, int depth)
{
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        return write_string(L, w, -1);
    case LUA_TNUMBER:
        return lua_isinteger(L, -1) && write_integer(w, lua_tointeger(L, -1));
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? write_bytes(w, "true", 4) : write_bytes(w, "false", 5);
    case LUA_TLIGHTUSERDATA:
        return !lua_touserdata(L, -1) && write_bytes(w, "null", 4);
    case LUA_TTABLE:
        return write_table(L, w, depth + 1);
    default:
        return false;
    }
}

/* (value, the metatables of lists and of objects) -> text, or nothing: vmctl.json.encode is to look at it. */
static int l_json_write(lua_State *L)
{
    struct writer w;
    w.len = 0;
    lua_settop(L, WRITE_OBJECT);
    luaL_checkstack(L, 4 * WRITE_DEPTH, "JSON");
    lua_pushvalue(L, 1);
    if (!lua_istable(L, 1) || !write_value(L, &w, 0))
        return 0;
    lua_pushlstring(L, w.text, w.len);
    return 1;
}

void vmctl_json_write_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "json_write", l_json_write }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
