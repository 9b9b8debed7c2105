/* Integers of Lua where C has fewer bits: they are looked at before they are cast. */
#ifndef VMCTL_LUA_CHECK_H
#define VMCTL_LUA_CHECK_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* The integer at `arg`; raises unless it is from `least` to `most`. */
lua_Integer vmctl_check_range(lua_State *L, int arg, lua_Integer least, lua_Integer most);

int vmctl_check_fd(lua_State *L, int arg);
uint32_t vmctl_check_u32(lua_State *L, int arg);

/* As much of a number of bytes, not below 0, as memory can be asked for: where size_t has 32 bits, 2^32 is not 0. */
size_t vmctl_size_clamp(lua_Integer bytes);

#endif
