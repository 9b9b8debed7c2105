/* The bytes of a yamux link: lua/vmctl/yamux, and the properties that fuzz/yamux_fuzz.lua states. Run from
 * the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/yamux_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
