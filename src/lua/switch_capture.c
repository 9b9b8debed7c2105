/* vmctl.Capture: what goes through a switch, in a file. */
#include "io/fs_private.h"
#include "io/switch_capture.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/switch.h"


#define VMCTL_CAPTURE "vmctl.Capture"

/* sw:capture(path) -> capture with close() */
int vmctl_l_capture(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    const char *path = luaL_checkstring(L, 2);
    struct vmctl_capture *c = lua_newuserdatauv(L, sizeof *c, 1);
    c->fd = -1;
    c->err = 0;
    luaL_setmetatable(L, VMCTL_CAPTURE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    struct stat st;
    int fd = -1, err = vmctl_private_open(path, true, &fd, &st);
    if (!err)
        err = vmctl_capture_open(c, sw, fd);
    if (err)
        return vmctl_fail(L, err, "capture to %s", path);
    return 1;
}

/* c:status() -> frames that are in the file or on their way; or nil, message, code: it could not be written, and has ended */
static int l_capture_status(lua_State *L)
{
    const struct vmctl_capture *c = luaL_checkudata(L, 1, VMCTL_CAPTURE);
    if (c->err)
        return vmctl_fail(L, c->err, "capture");
    lua_pushinteger(L, (lua_Integer)c->frames);
    return 1;
}

/* c:close() -> the number of frames */
static int l_capture_close(lua_State *L)
{
    struct vmctl_capture *c = luaL_checkudata(L, 1, VMCTL_CAPTURE);
    int err = vmctl_capture_close(c);
    if (err)
        return vmctl_fail(L, err, "capture");
    lua_pushinteger(L, (lua_Integer)c->frames);
    return 1;
}

static int l_capture_gc(lua_State *L)
{
    vmctl_capture_close(luaL_checkudata(L, 1, VMCTL_CAPTURE));
    return 0;
}

void vmctl_capture_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "close", l_capture_close }, { "status", l_capture_status }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_capture_gc }, { "__close", l_capture_gc }, { NULL, NULL } };
    vmctl_class(L, VMCTL_CAPTURE, methods, meta);
}
