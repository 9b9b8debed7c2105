/* JSON texts as programs write them to each other, to Lua values: what is anything but plain is left to vmctl.json.decode, which knows
 * the rest and says what is wrong. */
#include "lua/classes.h"

#include <stdbool.h>
#include <string.h>

enum {
    READ_DEPTH = 16,
    READ_DIGITS = 15, /* of an integer that a float would hold as well */
    READ_MARK = 2     /* stack slot: the metatable that marks a list */
};

struct reader {
    const char *at, *end; /* the text has a NUL behind its end, as all strings of Lua have */
};

static bool read_value(lua_State *L, struct reader *r, int depth);

static char read_blank(struct reader *r)
{
    while (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')
        r->at++;
    return *r->at;
}

/* ASCII without escapes. */
static bool read_string(lua_State *L, struct reader *r)
{
    const char *from = ++r->at;
    while ((signed char)*r->at >= ' ' && *r->at != '"' && *r->at != '\\') /* others than ASCII are negative */
        r->at++;
    if (*r->at != '"')
        return false;
    lua_pushlstring(L, from, (size_t)(r->at - from));
    r->at++;
    return true;
}

static bool read_integer(lua_State *L, struct reader *r)
{
    bool minus = *r->at == '-';
    const char *from = r->at += minus;
    lua_Integer n = 0;
    while (*r->at >= '0' && *r->at <= '9' && r->at - from < READ_DIGITS)
        n = n * 10 + (*r->at++ - '0');
    bool odd = *from == '0' && (minus || r->at - from > 1);
    if (r->at == from || odd || (*r->at >= '0' && *r->at <= '9') || *r->at == '.' || *r->at == 'e' || *r->at == 'E')
        return false;
    lua_pushinteger(L, minus ? -n : n);
    return true;
}

/* Leaves the table on the stack. */
static bool read_object(lua_State *L, struct reader *r, int depth)
{
    r->at++;
    lua_createtable(L, 0, read_blank(r) == '}' ? 0 : 4);
    if (*r->at == '}')
        return r->at++;
    for (;;) {
        if (read_blank(r) != '"' || !read_string(L, r) || read_blank(r) != ':')
            return false;
        r->at++;
        if (read_blank(r) == 'n') { /* a null member is none */
            if (strncmp(r->at, "null", 4) != 0)
                return false;
            r->at += 4;
            lua_pushnil(L);
        } else if (!read_value(L, r, depth)) {
            return false;
        }
        lua_rawset(L, -3);
        char next = read_blank(r);
        r->at++;
        if (next != ',')
            return next == '}';
    }
}

static bool read_list(lua_State *L, struct reader *r, int depth)
{
    r->at++;
    lua_newtable(L);
    lua_pushvalue(L, READ_MARK);
    lua_setmetatable(L, -2);
    if (read_blank(r) == ']')
        return r->at++;
    for (lua_Integer i = 1;; i++) {
        read_blank(r);
        if (!read_value(L, r, depth))
            return false;
        lua_rawseti(L, -2, i);
        char next = read_blank(r);
        r->at++;
        if (next != ',')
            return next == ']';
    }
}

static bool read_word(struct reader *r, const char *word)
{
    size_t len = strlen(word);
    bool is = strncmp(r->at, word, len) == 0;
    r->at += is ? len : 0;
    return is;
}

/* Pushes it. Afterwards `at` may be behind the end by no more than the NUL: each step past a character has looked at it. */
static bool read_value(lua_State *L, struct reader *r, int depth)
{
    if (depth == READ_DEPTH)
        return false;
    switch (*r->at) {
    case '{':
        return read_object(L, r, depth + 1);
    case '[':
        return read_list(L, r, depth + 1);
    case '"':
        return read_string(L, r);
    case 't':
        lua_pushboolean(L, 1);
        return read_word(r, "true");
    case 'f':
        lua_pushboolean(L, 0);
        return read_word(r, "false");
    case 'n':
        lua_pushlightuserdata(L, NULL); /* lua-cjson's null */
        return read_word(r, "null");
    default:
        return read_integer(L, r);
    }
}

/* (text, the metatable of lists) -> table, or nothing: vmctl.json.decode is to look at it. */
static int l_json_read(lua_State *L)
{
    size_t len;
    if (lua_type(L, 1) != LUA_TSTRING)
        return 0;
    struct reader r = { .at = lua_tolstring(L, 1, &len) };
    r.end = r.at + len;
    lua_settop(L, READ_MARK);
    luaL_checkstack(L, 3 * READ_DEPTH, "JSON");
    char first = read_blank(&r);
    if ((first != '{' && first != '[') || !read_value(L, &r, 0))
        return 0;
    read_blank(&r);
    return r.at == r.end ? 1 : 0;
}

void vmctl_json_read_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "json_read", l_json_read }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
