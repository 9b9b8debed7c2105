/* Addresses: lua/vmctl/net/address.lua. The properties are in
 * fuzz/address_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/address_fuzz.lua"
#include "lua_fuzz.h"
