/* vmctl.slirp: user networking for a switch, in a shared object of its own, so that vmctl works without libslirp. */
#include "slirp/net.h"

#include <lauxlib.h>
#include <string.h>

#define VMCTL_SLIRP "vmctl.Slirp"

__attribute__((visibility("default"))) int luaopen_vmctl_slirp(lua_State *L);

struct lua_slirp {
    struct vmctl_slirp *net; /* NULL: closed */
};

static bool flag(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    bool is_set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is_set;
}

/* slirp.open { restricted, host_loopback, ipv6 } -> network, the descriptor of a SOCK_SEQPACKET socket */
static int l_open(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const struct vmctl_slirp_options opts = {
        .restricted = flag(L, "restricted"), .host_loopback = flag(L, "host_loopback"), .ipv6 = flag(L, "ipv6")
    };
    struct lua_slirp *ls = lua_newuserdatauv(L, sizeof *ls, 0);
    ls->net = NULL;
    luaL_setmetatable(L, VMCTL_SLIRP);
    int fd, err = vmctl_slirp_open(&opts, &ls->net, &fd);
    if (err) {
        lua_pushnil(L);
        lua_pushfstring(L, "start user networking: %s", strerror(-err));
        return 2;
    }
    lua_pushinteger(L, fd);
    return 2;
}

static int l_close(lua_State *L)
{
    struct lua_slirp *ls = luaL_checkudata(L, 1, VMCTL_SLIRP);
    struct vmctl_slirp *net = ls->net;
    ls->net = NULL;
    if (net)
        vmctl_slirp_close(net);
    return 0;
}

int luaopen_vmctl_slirp(lua_State *L)
{
    static const luaL_Reg functions[] = { { "open", l_open }, { NULL, NULL } };
    static const luaL_Reg methods[] = { { "close", l_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_close }, { "__close", l_close }, { NULL, NULL } };
    luaL_newmetatable(L, VMCTL_SLIRP);
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
