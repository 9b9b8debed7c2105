/* What core.process is told in a table, as a description of a child. */
#ifndef VMCTL_LUA_PROCESS_OPTIONS_H
#define VMCTL_LUA_PROCESS_OPTIONS_H

#include "io/spawn.h"

#include <lua.h>
#include <stdbool.h>

/* Field `name` of the table at 1, from -1 to `most`. */
lua_Integer vmctl_field_integer(lua_State *L, const char *name, lua_Integer otherwise, lua_Integer most);

bool vmctl_field_boolean(lua_State *L, const char *name);

/* Reads the options in the table at 1; vectors and groups stay on the stack. The three standard fds are process_stdio.h's. */
void vmctl_spawn_describe(lua_State *L, struct vmctl_spawn *how);

#endif
