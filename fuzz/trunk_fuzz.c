/* Input of an end of a trunk: lua/vmctl/l2/trunk_greeting.lua, trunk_join.lua and trunk_talk.lua. The properties are in
 * fuzz/trunk_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/trunk_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
