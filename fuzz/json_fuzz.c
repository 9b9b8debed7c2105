/* Texts of JSON: lua/vmctl/json. The properties are in
 * fuzz/json_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/json_fuzz.lua"
#include "lua_fuzz.h"
