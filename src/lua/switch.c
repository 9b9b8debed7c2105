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
