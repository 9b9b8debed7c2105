/* Connecting, resolving, and the class vmctl.Listener. */
#include "io/listener.h"
#include "io/resolve.h"
#include "io/socket.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* Addresses: the Lua floor has a class for them; it tells us here how to make one of a text. */

static const char address_key;

static int l_set_address(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &address_key);
    return 0;
}

int vmctl_push_address(lua_State *L, const struct vmctl_addr *a)
{
    char text[VMCTL_ADDR_TEXT];
    vmctl_addr_format(a, text);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &address_key) == LUA_TFUNCTION) {
        lua_pushstring(L, text);
        lua_call(L, 1, 1);
        return 1;
    }
    lua_pop(L, 1);
    lua_pushstring(L, text);
    return 1;
}

static uint32_t number_field(lua_State *L, int arg, const char *name, lua_Integer most)
{
    lua_getfield(L, arg, name);
    lua_Integer v = luaL_checkinteger(L, -1);
    if (v < 0 || v > most)
        luaL_error(L, "%s: a number from 0 to %I expected", name, most);
    lua_pop(L, 1);
    return (uint32_t)v;
}

/* The address in the table at `arg`: { kind = "tcp", host = numeric, port = }, "unix" with path, "vsock" with cid, port. */
static int address_check(lua_State *L, int arg, struct vmctl_addr *a)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_getfield(L, arg, "kind");
    const char *kind = luaL_checkstring(L, -1);
    if (strcmp(kind, "unix") == 0) {
        size_t len;
        lua_getfield(L, arg, "path");
        const char *path = luaL_checklstring(L, -1, &len);
        int err = vmctl_addr_unix(a, path, len);
        lua_pop(L, 2);
        return err;
    }
    if (strcmp(kind, "vsock") == 0) {
        vmctl_addr_vsock(a, number_field(L, arg, "cid", UINT32_MAX), number_field(L, arg, "port", UINT32_MAX));
        lua_pop(L, 1);
        return 0;
    }
    if (strcmp(kind, "tcp") != 0)
        luaL_error(L, "an address of kind tcp, unix or vsock expected, got '%s'", kind);
    lua_getfield(L, arg, "host");
    int err = vmctl_addr_inet(a, luaL_checkstring(L, -1), (uint16_t)number_field(L, arg, "port", UINT16_MAX));
    lua_pop(L, 2);
    return err;
}

/* The failure of an address that the one at `arg` could not be turned into. */
static int address_fail(lua_State *L, int arg, int err, const char *what)
{
    lua_getfield(L, arg, "kind");
    lua_getfield(L, arg, strcmp(lua_tostring(L, -1), "unix") == 0 ? "path" : "host");
    return vmctl_fail(L, err, "%s %s:%s", what, lua_tostring(L, -2), lua_tostring(L, -1));
}

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
    int fd, err = address_check(L, 1, &a);
    vmctl_set_deadline(st, L, 2, 10);
    if (err)
        return address_fail(L, 1, err, "connect");
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

/* Names: the query is a handle, so that one that nobody waits for any more is let go. */

struct resolver {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    struct vmctl_resolve *query;
    ev_io rio;
    struct vmctl_waitq waiters;
};

#define VMCTL_RESOLVER "vmctl.Resolver"

static void resolver_close(struct vmctl_handle *h)
{
    struct resolver *r = VMCTL_CONTAINER(h, struct resolver, handle);
    if (!r->query)
        return;
    vmctl_io_stop(r->loop, &r->rio);
    vmctl_list_remove(&h->link);
    vmctl_resolve_drop(r->query);
    r->query = NULL;
    vmctl_wake_all(&r->waiters, VMCTL_ECLOSED);
}

static int l_resolver_close(lua_State *L)
{
    struct resolver *r = luaL_checkudata(L, 1, VMCTL_RESOLVER);
    resolver_close(&r->handle);
    return 0;
}

static void on_resolved(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev, (void)events;
    struct resolver *r = VMCTL_CONTAINER(w, struct resolver, rio);
    vmctl_io_stop(r->loop, w);
    vmctl_wake_all(&r->waiters, 0);
}

static void push_host(lua_State *L, const struct vmctl_addr *a)
{
    char text[VMCTL_ADDR_TEXT];
    vmctl_addr_format(a, text); /* "tcp:HOST:PORT" or "tcp:[HOST]:PORT" */
    const char *host = text + 4, *end = strrchr(host, ':');
    if (*host == '[')
        lua_pushlstring(L, host + 1, (size_t)(end - host - 2));
    else
        lua_pushlstring(L, host, (size_t)(end - host));
}

/* core.resolve(host, [timeout]) -> array of numeric addresses. Stack: 1 resolver, 2 deadline, 3 host. */
static int resolve_over(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct resolver *r = luaL_checkudata(L, 1, VMCTL_RESOLVER);
    const char *host = lua_tostring(L, 3), *text = NULL;
    const struct vmctl_addr *list = NULL;
    int n = vmctl_why(VMCTL_CONTAINER(r->loop, struct vmctl_lua, loop), L);
    if (!n)
        n = vmctl_resolve_result(r->query, &list, &text);
    if (n < 0) {
        int fail = text ? vmctl_fail_text(L, n, "resolve %s: %s", host, text) : vmctl_fail(L, n, "resolve %s", host);
        resolver_close(&r->handle);
        return fail;
    }
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        push_host(L, &list[i]);
        lua_rawseti(L, -2, i + 1);
    }
    resolver_close(&r->handle);
    return 1;
}

static int l_resolve(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    const char *host = luaL_checkstring(L, 1);
    lua_settop(L, 2);
    vmctl_set_deadline(st, L, 2, 10);
    lua_pushvalue(L, 1);
    struct resolver *r = lua_newuserdatauv(L, sizeof *r, 0);
    *r = (struct resolver){ .loop = &st->loop, .handle.close = resolver_close };
    vmctl_list_init(&r->handle.link);
    vmctl_waitq_init(&r->waiters);
    ev_init(&r->rio, on_resolved);
    luaL_setmetatable(L, VMCTL_RESOLVER);
    lua_replace(L, 1);
    int fd, err = vmctl_resolve_start(host, 0, &r->query, &fd);
    if (err)
        return vmctl_fail(L, err, "resolve %s", host);
    vmctl_handle_add(&st->loop, &r->handle);
    ev_io_set(&r->rio, fd, EV_READ);
    vmctl_io_start(&st->loop, &r->rio);
    return vmctl_park(st, L, &r->waiters, 2, LUA_OK, 0, resolve_over);
}

/* Listeners */

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
    int fd, err = address_check(L, 1, &a);
    if (err)
        return address_fail(L, 1, err, "listen");
    struct lua_listener *ll = lua_newuserdatauv(L, sizeof *ll, 0);
    vmctl_listener_init(&ll->l, &st->loop);
    luaL_setmetatable(L, VMCTL_LISTENER);
    vmctl_addr_format(&a, ll->text);
    err = vmctl_socket_listen(&a, (int)luaL_optinteger(L, 2, SOMAXCONN), (unsigned)luaL_optinteger(L, 3, 0), &fd);
    if (err)
        return vmctl_fail(L, err, "listen %s", ll->text);
    vmctl_listener_open(&ll->l, fd);
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
    struct vmctl_stream *s = vmctl_stream_new(L, st); /* before there is an fd that could be lost */
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

static int l_listener_address(lua_State *L)
{
    struct lua_listener *ll = listener_check(L, 1);
    if (ll->l.fd < 0)
        return vmctl_fail(L, VMCTL_ECLOSED, "address of %s", ll->text);
    return vmctl_push_address(L, &ll->l.address);
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
                                        { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_listener_close },
                                     { "__close", l_listener_close },
                                     { "__tostring", l_listener_tostring },
                                     { NULL, NULL } };
    static const luaL_Reg functions[] = { { "listen", l_listen }, { "local_cid", l_local_cid }, { NULL, NULL } };
    vmctl_class(L, VMCTL_LISTENER, methods, meta);
    luaL_setfuncs(L, functions, 0);
}

void vmctl_connect_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg closing[] = { { "__gc", l_resolver_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "connect", l_connect },
                                          { "resolve", l_resolve },
                                          { "set_address", l_set_address },
                                          { NULL, NULL } };
    vmctl_class(L, VMCTL_RESOLVER, none, closing);
    luaL_setfuncs(L, functions, 0);
}
