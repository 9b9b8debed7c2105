/* The hello of the mux and what follows it: lua/vmctl/mux. The properties are in
 * fuzz/mux_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/mux_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
