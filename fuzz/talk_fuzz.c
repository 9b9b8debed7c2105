/* Conversations: a script of chunks, messages, pauses and closes against each server and each client, on the real core with its
 * clock leaping. The properties, and what the bytes of a script mean, are in fuzz/talk_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/talk_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
