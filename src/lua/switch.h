/* The userdata of an Ethernet switch, for the files about it. */
#ifndef VMCTL_LUA_SWITCH_H
#define VMCTL_LUA_SWITCH_H

#include "io/switch_thread.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#define VMCTL_SWITCH "vmctl.Switch"

/* Its taps and captures hold it by a user value. */
struct vmctl_lua_switch {
    struct vmctl_switch sw;
    struct vmctl_switch_thread thread; /* if it is to have one */
    bool closed;
};

/* The open switch at `arg`. */
struct vmctl_switch *vmctl_switch_check(lua_State *L, int arg);

/* The port whose number is at `arg`, of the switch at `sw_arg`. */
struct vmctl_switch_port *vmctl_switch_port_check(lua_State *L, int sw_arg, int arg);

/* Sets a field of the table on top. */
void vmctl_switch_set_count(lua_State *L, const char *name, uint64_t value);

/* Further methods: switch_ports.c, switch_settings.c. All are called inside the switch, which was entered. */
extern const luaL_Reg vmctl_switch_port_methods[], vmctl_switch_settings[];

/* switch_fault_table.c. The fault in the table at `arg`, which Lua has checked; NULL for nil. */
const struct vmctl_fault *vmctl_switch_fault_check(lua_State *L, int arg, struct vmctl_fault *f);

/* switch_tap.c: sw:tap(bytes, lossy) */
int vmctl_l_tap(lua_State *L);

/* switch_capture.c: sw:capture(path) */
int vmctl_l_capture(lua_State *L);

#endif
