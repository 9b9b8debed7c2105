/* The class vmctl.Listener. */
#include "io/listener.h"
#include "io/socket.h"
#include "lua/address.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/socket.h>

struct lua_listener {
    struct vmctl_listener l;
    char text[VMCTL_ADDR_TEXT];
};

static struct lua_listener *listener_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, VMCTL_LISTENER);
}

/* core.listen(address, [backlog], [mode]) -> listener */
static int l_listen(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct vmctl_addr a;
    lua_settop(L, 3);
    int fd, err = vmctl_address_check(L, 1, &a);
    if (err)
        return vmctl_address_fail(L, 1, err, "listen");
    int backlog = lua_isnil(L, 2) ? SOMAXCONN : (int)vmctl_check_range(L, 2, 0, INT_MAX);
    unsigned mode = lua_isnil(L, 3) ? 0 : (unsigned)vmctl_check_range(L, 3, 0, UINT_MAX);
    struct lua_listener *ll = lua_newuserdatauv(L, sizeof *ll, 0);
    vmctl_listener_init(&ll->l, &st->loop);
    luaL_setmetatable(L, VMCTL_LISTENER);
    vmctl_addr_format(&a, ll->text);
    err = vmctl_socket_listen(&a, backlog, mode, &fd);
    if (err)
        return vmctl_fail(L, err, "listen %s", ll->text);
    vmctl_listener_open(&ll->l, fd);
    vmctl_listener_own_file(&ll->l);
    vmctl_addr_format(&ll->l.address, ll->text);
    return 1;
}

/* core.listener(file) -> listener, which takes the descriptor of a file that fs.listen made, and leaves the socket's file when it closes */
static int l_listener_take(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    int *fd = vmctl_file_descriptor(L, 1), listens = 0;
    socklen_t len = sizeof listens;
    luaL_argcheck(L, *fd >= 0 && getsockopt(*fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens, 1, "it does not listen");
    struct lua_listener *ll = lua_newuserdatauv(L, sizeof *ll, 0);
    vmctl_listener_init(&ll->l, &st->loop);
    luaL_setmetatable(L, VMCTL_LISTENER);
    vmctl_listener_open(&ll->l, *fd);
    *fd = -1;
    vmctl_addr_format(&ll->l.address, ll->text);
    return 1;
}

/* l:accept([timeout]) -> stream */
static int listener_accept(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_listener *ll = listener_check(L, 1);
    struct vmctl_listener *l = &ll->l;
    struct vmctl_lua *st = VMCTL_CONTAINER(l->loop, struct vmctl_lua, loop);
    if (status == LUA_OK && vmctl_must_pause(st, L))
        return vmctl_pause_before(st, L, listener_accept);
    struct vmctl_addr peer;
    char text[VMCTL_ADDR_TEXT];
    lua_settop(L, 2);
    struct vmctl_stream *s = vmctl_stream_new(L, st); /* first: an error would lose the fd */
    int fd, err = vmctl_listener_accept(l, &fd, &peer);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    if (!err) {
        vmctl_stream_open(s, fd, fd, VMCTL_STREAM_SOCKET);
        vmctl_addr_format(&peer, text);
        vmctl_stream_label(s, peer.u.sa.sa_family == AF_UNIX ? ll->text : text);
        vmctl_trace_open(L, s, -1, "accept");
        return 1;
    }
    lua_settop(L, 2);
    if (err == -EAGAIN && !why) {
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 2, INFINITY);
        vmctl_listener_want(l);
        return vmctl_park(st, L, &l->waiters, 2, status, ctx, listener_accept);
    }
    if (why == -ETIMEDOUT && l->lack)
        return vmctl_fail(L, l->lack, "accept %s", ll->text);
    return vmctl_fail(L, why ? why : err, "accept %s", ll->text);
}

static int l_listener_accept(lua_State *L)
{
    listener_check(L, 1);
    lua_settop(L, 2);
    return listener_accept(L, LUA_OK, 0);
}

static int l_listener_close(lua_State *L)
{
    vmctl_listener_close(&listener_check(L, 1)->l);
    lua_pushboolean(L, 1);
    return 1;
}

/* l:address(); a listener on every CID is reached at the machine's own, where that is known */
static int l_listener_address(lua_State *L)
{
    struct lua_listener *ll = listener_check(L, 1);
    if (ll->l.fd < 0)
        return vmctl_fail(L, VMCTL_ECLOSED, "address of %s", ll->text);
    struct vmctl_addr a = ll->l.address;
    uint32_t cid;
    if (a.u.sa.sa_family == AF_VSOCK && a.u.vm.svm_cid == VMADDR_CID_ANY && vmctl_socket_local_cid(&cid) == 0)
        a.u.vm.svm_cid = cid;
    return vmctl_push_address(L, &a);
}

/* l:leave_file(): close will neither remove the file of a Unix socket nor look at it */
static int l_listener_leave_file(lua_State *L)
{
    listener_check(L, 1)->l.ino = 0;
    return 0;
}

static int l_listener_tostring(lua_State *L)
{
    struct lua_listener *ll = listener_check(L, 1);
    lua_pushfstring(L, "vmctl.Listener(%s%s)", ll->text, ll->l.fd < 0 ? ", closed" : "");
    return 1;
}

static int l_listener_fileno(lua_State *L)
{
    struct lua_listener *ll = listener_check(L, 1);
    if (ll->l.fd < 0)
        return vmctl_fail(L, VMCTL_ECLOSED, "fileno of %s", ll->text);
    lua_pushinteger(L, ll->l.fd);
    return 1;
}

static int l_local_cid(lua_State *L)
{
    uint32_t cid;
    int err = vmctl_socket_local_cid(&cid);
    if (err)
        return vmctl_fail(L, err, "local CID from /dev/vsock");
    lua_pushinteger(L, cid);
    return 1;
}

void vmctl_listener_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "accept", l_listener_accept },
                                        { "close", l_listener_close },
                                        { "address", l_listener_address },
                                        { "fileno", l_listener_fileno },
                                        { "leave_file", l_listener_leave_file },
                                        { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_listener_close },
                                     { "__close", l_listener_close },
                                     { "__tostring", l_listener_tostring },
                                     { NULL, NULL } };
    static const luaL_Reg functions[] = { { "listen", l_listen }, { "listener", l_listener_take }, { "local_cid", l_local_cid }, { NULL, NULL } };
    vmctl_class(L, VMCTL_LISTENER, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
