/* Lines of QEMU's monitor and of its guest agent: lua/vmctl/qmp/wire.lua, and the properties that fuzz/qmp_fuzz.lua
 * states. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/qmp_fuzz.lua"
#include "lua_fuzz.h"
