/* The pure functions of src/wire that Lua calls directly. */
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "wire/base64.h"
#include "wire/hybrid.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

static int l_base64_encode(lua_State *L)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    size_t size = vmctl_base64_encoded_size(len);
    luaL_argcheck(L, size || !len, 1, "too long");
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, size);
    luaL_pushresultsize(&b, vmctl_base64_encode((const uint8_t *)in, len, out));
    return 1;
}

static int l_base64_decode(lua_State *L)
{
    size_t len;
    const char *in = luaL_checklstring(L, 1, &len);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, len / 4 * 3);
    ssize_t n = vmctl_base64_decode(in, len, (uint8_t *)out);
    luaL_pushresultsize(&b, n < 0 ? 0 : (size_t)n);
    if (n < 0)
        return vmctl_fail_text(L, (int)n, "decode base64: not the standard alphabet with padding");
    return 1;
}

/* (line without LF) -> port | nil, message, "EPROTO" */
static int hybrid_number(lua_State *L, int (*parse)(const char *, size_t, uint32_t *), const char *what)
{
    size_t len;
    const char *line = luaL_checklstring(L, 1, &len);
    uint32_t number;
    int err = parse(line, len, &number);
    if (err)
        return vmctl_fail_text(L, err, "%s", what);
    lua_pushinteger(L, number);
    return 1;
}

static int l_hybrid_connect(lua_State *L)
{
    return hybrid_number(L, vmctl_hybrid_parse_connect, "not a CONNECT line");
}

static int l_hybrid_ok(lua_State *L)
{
    return hybrid_number(L, vmctl_hybrid_parse_ok, "not an OK line");
}

static int l_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)vmctl_check_range(L, 1, INT_MIN, INT_MAX)));
    return 1;
}

void vmctl_codec_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "base64_encode", l_base64_encode },
                                          { "base64_decode", l_base64_decode },
                                          { "hybrid_connect", l_hybrid_connect },
                                          { "hybrid_ok", l_hybrid_ok },
                                          { "isatty", l_isatty },
                                          { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
