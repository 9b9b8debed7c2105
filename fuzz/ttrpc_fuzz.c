/* Frames of ttrpc as a server's connection gets them: lua/vmctl/ttrpc/frame_rules.lua in a Lua state of its own, and the
 * properties that fuzz/ttrpc_fuzz.lua states. The input is the bytes of a connection. Run from the project's root.
 * before: fuzz/pb_messages
 * libraries: lua5.4-cjson
 * sources: src/pb/arena.c src/pb/convert.c src/pb/decode.c src/pb/encode.c src/pb/envelope.c src/pb/module.c
 * sources: src/pb/define.c src/pb/registry.c src/pb/unpack.c src/pb/utf8.c
 * sources: build/fuzz/messages/libmessages.a
 * links: -isystem build/fuzz/messages -lprotobuf-c */
#include <lua.h>

int luaopen_vmctl_pb(lua_State *L);

#define FUZZ_LUA "fuzz/ttrpc_fuzz.lua"
#define FUZZ_WHOLE
#define FUZZ_PRELOAD(lua) luaL_requiref(lua, "vmctl.pb", luaopen_vmctl_pb, 0)
#include "lua_fuzz.h"
