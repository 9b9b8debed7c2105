/* What the specs need of the system and vmctl does not offer: socket buffers of a chosen size. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include <sys/socket.h>

/* buffers(fd, bytes): both buffers of a socket; the kernel doubles the number and has a least one. */
static int l_buffers(lua_State *L)
{
    int fd = (int)luaL_checkinteger(L, 1), bytes = (int)luaL_checkinteger(L, 2);
    int rc = setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (rc == 0)
        rc = setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (rc < 0)
        return luaL_error(L, "socket buffers of %d bytes: %s", bytes, strerror(errno));
    return 0;
}

int luaopen_native(lua_State *L)
{
    static const luaL_Reg functions[] = { { "buffers", l_buffers }, { NULL, NULL } };
    luaL_newlib(L, functions);
    return 1;
}
