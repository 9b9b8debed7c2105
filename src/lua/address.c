/* Addresses, between the tables and objects of Lua and those of sockets. */
#include "lua/address.h"

#include "lua/fail.h"
#include "lua/text.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

static const char address_key;

int vmctl_l_set_address(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &address_key);
    return 0;
}

int vmctl_push_address(lua_State *L, const struct vmctl_addr *a)
{
    char text[VMCTL_ADDR_TEXT];
    vmctl_addr_format(a, text);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &address_key) == LUA_TFUNCTION) {
        lua_pushstring(L, text);
        lua_call(L, 1, 1);
        return 1;
    }
    lua_pop(L, 1);
    lua_pushstring(L, text);
    return 1;
}

static uint32_t number_field(lua_State *L, int arg, const char *name, lua_Integer most)
{
    lua_getfield(L, arg, name);
    lua_Integer v = luaL_checkinteger(L, -1);
    if (v < 0 || v > most)
        luaL_error(L, "%s: a number from 0 to %I expected", name, most);
    lua_pop(L, 1);
    return (uint32_t)v;
}

int vmctl_address_check(lua_State *L, int arg, struct vmctl_addr *a)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_getfield(L, arg, "kind");
    const char *kind = luaL_checkstring(L, -1);
    if (strcmp(kind, "unix") == 0) {
        size_t len;
        lua_getfield(L, arg, "path");
        const char *path = luaL_checklstring(L, -1, &len);
        int err = vmctl_addr_unix(a, path, len);
        lua_pop(L, 2);
        return err;
    }
    if (strcmp(kind, "vsock") == 0) {
        vmctl_addr_vsock(a, number_field(L, arg, "cid", UINT32_MAX), number_field(L, arg, "port", UINT32_MAX));
        lua_pop(L, 1);
        return 0;
    }
    if (strcmp(kind, "tcp") != 0)
        luaL_error(L, "an address of kind tcp, unix or vsock expected, got '%s'", kind);
    lua_getfield(L, arg, "host");
    const char *host = vmctl_check_text(L, -1);
    uint16_t port = (uint16_t)number_field(L, arg, "port", UINT16_MAX);
    int err = host ? vmctl_addr_inet(a, host, port) : -EINVAL;
    lua_pop(L, 2);
    return err;
}

int vmctl_address_fail(lua_State *L, int arg, int err, const char *what)
{
    lua_getfield(L, arg, "kind");
    lua_getfield(L, arg, strcmp(lua_tostring(L, -1), "unix") == 0 ? "path" : "host");
    const char *shown = vmctl_push_shown(L, -1);
    return vmctl_fail(L, err, "%s %s:%s", what, lua_tostring(L, -3), shown);
}
