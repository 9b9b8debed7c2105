/* Archives as a guest or an image has them: lua/vmctl/tar/read.lua and write.lua. The properties are in
 * fuzz/tar_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/tar_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
