/* What the specs need of the system and vmctl does not offer: socket buffers of a chosen size, limits of the process. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static int result(lua_State *L, int rc)
{
    if (rc == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, strerror(errno));
    return 2;
}

/* buffers(fd, bytes): both buffers of a socket; the kernel doubles the number and has a least one. */
static int l_buffers(lua_State *L)
{
    int fd = (int)luaL_checkinteger(L, 1), bytes = (int)luaL_checkinteger(L, 2);
    int rc = setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (rc == 0)
        rc = setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    return result(L, rc);
}

/* max_fds(n): no fd of a number from n up can be had any more; what is open stays open. */
static int l_max_fds(lua_State *L)
{
    struct rlimit limit;
    int rc = getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
    if (rc == 0)
        rc = setrlimit(RLIMIT_NOFILE, &limit);
    return result(L, rc);
}

int luaopen_native(lua_State *L)
{
    static const luaL_Reg functions[] = { { "buffers", l_buffers }, { "max_fds", l_max_fds }, { NULL, NULL } };
    luaL_newlib(L, functions);
    return 1;
}
