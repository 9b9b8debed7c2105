/* The files that fill the table core.fs: each adds its functions to the table on top of the stack. */
#ifndef VMCTL_LUA_FS_H
#define VMCTL_LUA_FS_H

#include "lua/state.h"

void vmctl_fs_place_register(lua_State *L);
void vmctl_fs_system_register(lua_State *L);

#endif
