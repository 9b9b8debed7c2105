/* Reads the table that core.process gets into a description of a child. */
#ifndef VMCTL_LUA_PROCESS_OPTIONS_H
#define VMCTL_LUA_PROCESS_OPTIONS_H

#include "io/spawn.h"

#include <lua.h>
#include <stdbool.h>

/* Field `name` of the table at 1, from -1 to `most`. */
lua_Integer vmctl_field_integer(lua_State *L, const char *name, lua_Integer otherwise, lua_Integer most);

bool vmctl_field_boolean(lua_State *L, const char *name);

/* process_env.c. The variables by name in `env` of the table at 1, added to ours, or `alone`; false is for one that the child
 * shall not have. NULL-terminated; lives as long as the stack slot that it leaves behind, and as ours stay as they are. */
char *const *vmctl_field_env(lua_State *L, bool alone);

/* Reads the options in the table at 1; vectors and groups stay on the stack. The three standard fds are process_stdio.h's. */
void vmctl_spawn_describe(lua_State *L, struct vmctl_spawn *how);

#endif
