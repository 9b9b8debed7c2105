/* core.resolve: the addresses of a name. */
#include "io/resolve.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/text.h"

#include <errno.h>
#include <string.h>

#define VMCTL_RESOLVER "vmctl.Resolver"

/* The query is a handle, so that one without a waiting task is dropped. */
struct resolver {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    struct vmctl_resolve *query;
    ev_io rio;
    struct vmctl_waitq waiters;
};

static void resolver_close(struct vmctl_handle *h)
{
    struct resolver *r = VMCTL_CONTAINER(h, struct resolver, handle);
    if (!r->query)
        return;
    vmctl_io_stop(r->loop, &r->rio);
    vmctl_io_forget(r->loop, r->rio.fd);
    vmctl_list_remove(&h->link);
    if (vmctl_loop_is_ours(r->loop)) /* in the child of a fork its thread is missing, and may hold its lock for ever */
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
    (void)ev;
    struct resolver *r = VMCTL_CONTAINER(w, struct resolver, rio);
    int failed = vmctl_io_failed(r->loop, w, events);
    if (failed == -EAGAIN)
        return;
    vmctl_io_stop(r->loop, w);
    vmctl_wake_all(&r->waiters, failed);
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
    const char *host = vmctl_check_text(L, 1);
    if (!host)
        return vmctl_text_fail(L, "resolve");
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
    int fd, err = vmctl_resolve_start(&st->loop, host, 0, &r->query, &fd);
    if (err)
        return vmctl_fail(L, err, "resolve %s", host);
    vmctl_handle_add(&st->loop, &r->handle);
    ev_io_set(&r->rio, fd, EV_READ);
    vmctl_io_start(&st->loop, &r->rio);
    return vmctl_park(st, L, &r->waiters, 2, LUA_OK, 0, resolve_over);
}

void vmctl_resolve_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg closing[] = { { "__gc", l_resolver_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "resolve", l_resolve }, { NULL, NULL } };
    vmctl_class(L, VMCTL_RESOLVER, none, closing);
    luaL_setfuncs(L, functions, 0);
}
