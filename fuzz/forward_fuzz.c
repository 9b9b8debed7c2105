/* The handshake of forwarded streams, both ends: lua/vmctl/socketforward/wire.lua. The properties are in
 * fuzz/forward_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/forward_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
