/* A guest's console, and reports of it: lua/vmctl/machine/console.lua, log.lua, scenario/failure.lua. The properties are in
 * fuzz/console_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/console_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
