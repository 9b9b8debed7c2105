/* Closing methods: what runs when a variable marked <close> leaves its scope. */
#ifndef VMCTL_LUA_CLOSING_H
#define VMCTL_LUA_CLOSING_H

#include <lua.h>
#include <stdbool.h>

/* True if a closing method runs in this coroutine, or a function that it has called. */
bool vmctl_is_closing(lua_State *L);

#endif
