/* A guest's configuration: lua/vmctl/config/jcard.lua. The properties are in
 * fuzz/jcard_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/jcard_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
