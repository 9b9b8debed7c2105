/* What the files about the Ethernet switch share. */
#ifndef VMCTL_LUA_SWITCH_H
#define VMCTL_LUA_SWITCH_H

#include "io/switch.h"
#include "lua/classes.h"

/* The open switch at `arg`. */
struct vmctl_switch *vmctl_switch_check(lua_State *L, int arg);

/* switch_tap.c: sw:tap(bytes, lossy) */
int vmctl_l_tap(lua_State *L);
void vmctl_tap_register(lua_State *L);

/* switch_capture.c: sw:capture(path) */
int vmctl_l_capture(lua_State *L);
void vmctl_capture_register(lua_State *L);

#endif
