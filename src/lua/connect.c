/* core.connect: a stream to an address. */
#include "io/socket.h"
#include "lua/address.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>

/* core.connect(address, [timeout]) -> stream. Stack while it waits: 1 stream, 2 deadline. */
static int connect_over(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    int why = vmctl_why(vmctl_stream_state(s), L);
    if (!why)
        why = vmctl_socket_finish(s->wfd);
    if (why) {
        vmctl_fail(L, why, "connect %s", vmctl_stream_name(s));
        vmctl_stream_close(s);
        return 3;
    }
    lua_settop(L, 1);
    vmctl_trace_open(L, s, 1, "dial");
    return 1;
}

static int l_connect(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_addr a;
    char text[VMCTL_ADDR_TEXT];
    lua_settop(L, 2);
    int fd, err = vmctl_address_check(L, 1, &a);
    vmctl_set_deadline(st, L, 2, 10);
    if (err)
        return vmctl_address_fail(L, 1, err, "connect");
    vmctl_addr_format(&a, text);
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    lua_replace(L, 1);
    vmctl_stream_label(s, text);
    err = vmctl_socket_connect(&a, &fd);
    if (err && err != -EINPROGRESS)
        return vmctl_fail(L, err, "connect %s", text);
    vmctl_stream_open(s, fd, fd, VMCTL_STREAM_SOCKET);
    lua_settop(L, 2);
    if (!err) {
        lua_settop(L, 1);
        vmctl_trace_open(L, s, 1, "dial");
        return 1;
    }
    vmctl_io_start(s->loop, &s->wio);
    return vmctl_park(st, L, &s->writers, 2, LUA_OK, 0, connect_over);
}

void vmctl_connect_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "connect", l_connect }, { "set_address", vmctl_l_set_address }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
