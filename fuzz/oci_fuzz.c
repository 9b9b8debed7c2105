/* The JSON of images: index, manifest and configuration: lua/vmctl/rootfs/oci.lua, lua/vmctl/rootfs/docker.lua. The properties are in
 * fuzz/oci_fuzz.lua. Run from the project's root.
 * libraries: lua5.4-cjson
 * sanitizers: none */
#define FUZZ_LUA "fuzz/oci_fuzz.lua"
#define FUZZ_WHOLE
#include "lua_fuzz.h"
