/* The userdata of an Ethernet switch. Its class is in switch_class.c. */
#include "lua/switch.h"

#include <lauxlib.h>

struct vmctl_switch *vmctl_switch_check(lua_State *L, int arg)
{
    struct vmctl_lua_switch *ls = luaL_checkudata(L, arg, VMCTL_SWITCH);
    if (ls->closed)
        luaL_error(L, "the switch is closed");
    return &ls->sw;
}

struct vmctl_switch_port *vmctl_switch_port_check(lua_State *L, int sw_arg, int arg)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, sw_arg);
    lua_Integer index = luaL_checkinteger(L, arg);
    luaL_argcheck(L, index >= 0 && index < sw->ports && sw->port[index], arg, "no such port");
    return sw->port[index];
}

void vmctl_switch_set_count(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}
