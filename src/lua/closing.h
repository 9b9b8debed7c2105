/* Closing methods: what runs when a variable marked <close> leaves its scope. */
#ifndef VMCTL_LUA_CLOSING_H
#define VMCTL_LUA_CLOSING_H

#include <lua.h>
#include <stdbool.h>

/* Does a closing method run in this coroutine, or something that it has called? */
bool vmctl_is_closing(lua_State *L);

#endif
