/* fs.listen: a listening Unix socket, as a vmctl.File, so that a worker can make it: bind(2) makes a file, which hangs where the file
 * system does. core.listener makes a vmctl.Listener of it. */
#include "io/addr.h"
#include "io/socket.h"
#include "lua/check.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/text.h"

#include <lauxlib.h>
#include <limits.h>
#include <sys/socket.h>

/* fs.listen(path, [mode]) -> file */
static int l_fs_listen(lua_State *L)
{
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    unsigned mode = lua_isnoneornil(L, 2) ? 0 : (unsigned)vmctl_check_range(L, 2, 0, UINT_MAX);
    struct vmctl_addr a;
    if (*path && !vmctl_is_text(L, 1)) /* an abstract name begins with a NUL, and may have more */
        return vmctl_text_fail(L, "listen");
    int err = vmctl_addr_unix(&a, path, len);
    int *out = vmctl_file_new(L, path);
    if (!err)
        err = vmctl_socket_listen(&a, SOMAXCONN, mode, out);
    return err ? vmctl_fail(L, err, "listen unix:%s", path) : 1;
}

void vmctl_fs_listen_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "listen", l_fs_listen }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
