/* Payloads of cc-helper's protocol: lua/vmctl/cc/decoder.lua, encoder.lua and mux.lua, and the properties that
 * fuzz/cc_fuzz.lua states.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/cc_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
