/* Answers of the QEMU guest agent: lua/vmctl/qga. The properties are in
 * fuzz/qga_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/qga_fuzz.lua"
#include "lua_fuzz.h"
