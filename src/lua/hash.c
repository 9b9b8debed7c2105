/* vmctl.Sha256: core.sha256([bytes]) -> hash, which takes more with update and gives its digest at any time. */
#include "lua/classes.h"
#include "wire/sha256.h"

#define VMCTL_SHA256 "vmctl.Sha256"

static int l_sha256_new(lua_State *L)
{
    size_t len = 0;
    const char *bytes = luaL_optlstring(L, 1, "", &len);
    struct vmctl_sha256 *h = lua_newuserdatauv(L, sizeof *h, 0);
    vmctl_sha256_init(h);
    vmctl_sha256_update(h, bytes, len);
    luaL_setmetatable(L, VMCTL_SHA256);
    return 1;
}

/* h:update(bytes) -> h */
static int l_sha256_update(lua_State *L)
{
    size_t len;
    struct vmctl_sha256 *h = luaL_checkudata(L, 1, VMCTL_SHA256);
    const char *bytes = luaL_checklstring(L, 2, &len);
    vmctl_sha256_update(h, bytes, len);
    lua_settop(L, 1);
    return 1;
}

/* h:digest() -> 32 bytes */
static int l_sha256_digest(lua_State *L)
{
    uint8_t out[VMCTL_SHA256_SIZE];
    vmctl_sha256_digest(luaL_checkudata(L, 1, VMCTL_SHA256), out);
    lua_pushlstring(L, (const char *)out, sizeof out);
    return 1;
}

/* h:hex() -> 64 lower-case digits */
static int l_sha256_hex(lua_State *L)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t out[VMCTL_SHA256_SIZE];
    char text[2 * VMCTL_SHA256_SIZE];
    vmctl_sha256_digest(luaL_checkudata(L, 1, VMCTL_SHA256), out);
    for (size_t i = 0; i < VMCTL_SHA256_SIZE; i++) {
        text[2 * i] = digits[out[i] >> 4];
        text[2 * i + 1] = digits[out[i] & 15];
    }
    lua_pushlstring(L, text, sizeof text);
    return 1;
}

void vmctl_hash_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "update", l_sha256_update }, { "digest", l_sha256_digest }, { "hex", l_sha256_hex }, { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = { { "sha256", l_sha256_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_SHA256, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
