/* System calls for specs that vmctl does not offer: socket buffers of a chosen size, another user. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* act_as(uid): connections made from now on are that user's; 0 goes back to root. */
static int l_act_as(lua_State *L)
{
    uid_t uid = (uid_t)luaL_checkinteger(L, 1);
    if (seteuid(uid) < 0)
        return luaL_error(L, "act as user %d: %s", (int)uid, strerror(errno));
    return 0;
}

int luaopen_native(lua_State *L)
{
    static const luaL_Reg functions[] = { { "buffers", l_buffers }, { "act_as", l_act_as }, { NULL, NULL } };
    luaL_newlib(L, functions);
    return 1;
}
