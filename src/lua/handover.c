/* Hands descriptors to a confined program over a socket and sets its Landlock rules, for Lua. */
#include "io/landlock.h"
#include "io/socket.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/stream.h"
#include "lua/text.h"

#include <errno.h>

/* core.send_fd(stream, fd, byte) -> true: a copy of the descriptor goes with one byte, at once or not at all (EAGAIN: bytes before
 * it are still unsent) */
static int l_send_fd(lua_State *L)
{
    const struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    int fd = vmctl_check_fd(L, 2);
    size_t len;
    const char *byte = luaL_checklstring(L, 3, &len);
    luaL_argcheck(L, len == 1, 3, "one byte expected");
    int err = s->wfd < 0 ? VMCTL_ECLOSED : vmctl_buf_len(&s->out) ? -EAGAIN : vmctl_socket_send_fd(s->wfd, fd, *byte);
    if (err)
        return vmctl_fail(L, err, "send a descriptor to %s", vmctl_stream_name(s));
    lua_pushboolean(L, 1);
    return 1;
}

/* core.landlock_abi() -> version | nil, message, code */
static int l_landlock_abi(lua_State *L)
{
    int version = vmctl_landlock_abi();
    if (version < 0)
        return vmctl_fail(L, version, "ask for Landlock");
    lua_pushinteger(L, version);
    return 1;
}

/* core.landlock() -> vmctl.File, a set of rules that allows nothing */
static int l_landlock(lua_State *L)
{
    int err = vmctl_landlock_new(vmctl_file_new(L, "rules of Landlock"));
    return err ? vmctl_fail(L, err, "make rules of Landlock") : 1;
}

/* core.landlock_allow(rules, path, [write]) -> true | nil, message, code */
static int l_landlock_allow(lua_State *L)
{
    int rules = vmctl_check_fd(L, 1);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "allow");
    int err = vmctl_landlock_allow(rules, path, lua_toboolean(L, 3));
    if (err)
        return vmctl_fail(L, err, "allow %s by Landlock", path);
    lua_pushboolean(L, 1);
    return 1;
}

void vmctl_handover_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "send_fd", l_send_fd },
                                          { "landlock_abi", l_landlock_abi },
                                          { "landlock", l_landlock },
                                          { "landlock_allow", l_landlock_allow },
                                          { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
