/* Strings of Lua for calls that take C's: a path, a host, a name or a word of a command with a NUL byte is refused and not cut there. */
#ifndef VMCTL_LUA_TEXT_H
#define VMCTL_LUA_TEXT_H

#include <lua.h>
#include <stdbool.h>

/* True if the string at `at` has no NUL byte. */
bool vmctl_is_text(lua_State *L, int at);

/* The string at `arg`; raises unless it is one. NULL if it has a NUL byte: the caller then returns vmctl_text_fail. */
const char *vmctl_check_text(lua_State *L, int arg);

/* The same, or `otherwise` for nil and none. */
const char *vmctl_opt_text(lua_State *L, int arg, const char *otherwise);

/* Pushes nil, "what ARGUMENT: it has a NUL byte", "EINVAL" and returns 3. The argument is the first string with a NUL byte: texts are in
 * front of bytes. */
int vmctl_text_fail(lua_State *L, const char *what);

/* Pushes the string at `at` for a message, each NUL byte as "\0". It is valid while it is on the stack. */
const char *vmctl_push_shown(lua_State *L, int at);

#endif
