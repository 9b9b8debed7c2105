/* Failing: how a function of the core returns an error to Lua. */
#ifndef VMCTL_LUA_FAIL_H
#define VMCTL_LUA_FAIL_H

#include "wire/error.h"

#include <lua.h>

/* Pushes nil, "what: text", "CODE" and returns 3. `err` is negative. -ENOMEM raises. */
int vmctl_fail(lua_State *L, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with a text of its own instead of the error's. */
int vmctl_fail_text(lua_State *L, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
