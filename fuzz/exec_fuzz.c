/* Messages of exec and of its file service: lua/vmctl/exec/wire.lua, files.lua. The properties are in
 * fuzz/exec_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/exec_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
