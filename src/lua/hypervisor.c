/* This machine's means to run guests, for Lua. */
#include "io/hypervisor.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/text.h"

#include <errno.h>

/* core.try_kvm(path) -> true | nil, message, code: whether KVM is there and makes a machine */
static int l_try_kvm(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1), *step;
    if (!path)
        return vmctl_text_fail(L, "open");
    int err = vmctl_kvm_try(path, &step);
    if (err == -EPROTO)
        return vmctl_fail_text(L, err, "%s %s: it is not KVM, or another version of it", step, path);
    if (err)
        return vmctl_fail(L, err, "%s %s", step, path);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.open_vhost_vsock(path, cid) -> vmctl.File | nil, message, code: while it or a copy is open, the CID is taken */
static int l_open_vhost_vsock(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "open");
    lua_Integer cid = luaL_checkinteger(L, 2);
    int *fd = vmctl_file_new(L, path);
    int err = vmctl_vhost_vsock_open(path, (uint64_t)cid, fd);
    if (err)
        return vmctl_fail(L, err, "open %s for CID %lld", path, (long long)cid);
    return 1;
}

void vmctl_hypervisor_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "try_kvm", l_try_kvm }, { "open_vhost_vsock", l_open_vhost_vsock }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
