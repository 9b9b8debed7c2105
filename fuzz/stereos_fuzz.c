/* Lines of StereOS' control plane: lua/vmctl/stereos/wire.lua, and the properties that fuzz/stereos_fuzz.lua states.
 * Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/stereos_fuzz.lua"
#include "lua_fuzz.h"
