/* The class vmctl.Switch: the Ethernet switch as Lua sees it. Ports are numbers here; vmctl.l2 makes objects of them. */
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/switch.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

/* core.switch(seed, has_thread) -> switch */
static int l_switch_new(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    lua_Integer seed = luaL_checkinteger(L, 1);
    bool has_thread = lua_toboolean(L, 2);
    struct vmctl_lua_switch *ls = lua_newuserdatauv(L, sizeof *ls, 0);
    ls->closed = true;
    luaL_setmetatable(L, VMCTL_SWITCH);
    if (has_thread) {
        int err = vmctl_switch_thread_open(&ls->thread, &ls->sw, &st->loop, (uint64_t)seed);
        if (err)
            return vmctl_fail(L, err, "start the thread of a switch");
    } else {
        vmctl_switch_init(&ls->sw, &st->loop, (uint64_t)seed);
    }
    ls->closed = false;
    return 1;
}

/* Calls a method, the upvalue, inside the switch, and leaves the switch again also after an error. */
static int l_switch_enter(lua_State *L)
{
    struct vmctl_lua_switch *ls = luaL_checkudata(L, 1, VMCTL_SWITCH);
    lua_CFunction method = lua_tocfunction(L, lua_upvalueindex(1));
    if (!ls->sw.thread)
        return method(L);
    lua_pushcfunction(L, method);
    lua_insert(L, 1);
    vmctl_switch_enter(&ls->sw);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    vmctl_switch_leave(&ls->sw);
    return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int l_switch_close(lua_State *L)
{
    struct vmctl_lua_switch *ls = luaL_checkudata(L, 1, VMCTL_SWITCH);
    if (ls->closed)
        return 0;
    ls->closed = true;
    if (ls->sw.thread)
        vmctl_switch_thread_close(&ls->thread);
    else
        vmctl_switch_close(&ls->sw);
    return 0;
}

static int inject(lua_State *L, int (*fn)(struct vmctl_switch_port *, const uint8_t *, size_t))
{
    struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
    size_t len;
    const char *frame = luaL_checklstring(L, 3, &len);
    int err = fn(p, (const uint8_t *)frame, len);
    if (err)
        return vmctl_fail_text(L, err, "inject a frame at port %s: %zu bytes, a frame has %d to %d", p->name, len,
                               VMCTL_ETHER_MIN, VMCTL_ETHER_MAX);
    lua_pushboolean(L, 1);
    return 1;
}

/* sw:inject(port, frame) */
static int l_switch_inject(lua_State *L)
{
    return inject(L, vmctl_switch_inject);
}

/* sw:pass_on(port, frame): one that a tap had taken */
static int l_switch_pass_on(lua_State *L)
{
    return inject(L, vmctl_switch_pass_on);
}

/* sw:addresses() -> { { mac, vlan, port, age } ... } */
static int l_switch_addresses(lua_State *L)
{
    const struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    uint32_t now = (uint32_t)vmctl_loop_now(sw->loop);
    lua_newtable(L);
    lua_Integer n = 0;
    for (int i = 0; i < VMCTL_MAC_SLOTS; i++) {
        const struct vmctl_mac_entry *e = &sw->macs.slot[i];
        if (!e->key || !vmctl_mac_counts(&sw->macs, e, now))
            continue;
        lua_createtable(L, 0, 4);
        char mac[18];
        snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", (unsigned)(e->key >> 40 & 255), (unsigned)(e->key >> 32 & 255),
                 (unsigned)(e->key >> 24 & 255), (unsigned)(e->key >> 16 & 255), (unsigned)(e->key >> 8 & 255),
                 (unsigned)(e->key & 255));
        lua_pushstring(L, mac);
        lua_setfield(L, -2, "mac");
        vmctl_switch_set_count(L, "vlan", e->key >> 48);
        vmctl_switch_set_count(L, "port", (uint64_t)e->port);
        vmctl_switch_set_count(L, "age", now - e->seen);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int l_switch_forget(lua_State *L)
{
    vmctl_mac_forget(&vmctl_switch_check(L, 1)->macs, -1);
    return 0;
}

/* sw:wait_news([timeout]) -> true when a connection has ended or brought its first invalid frame */
static int switch_wait(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_switch *ls = luaL_checkudata(L, 1, VMCTL_SWITCH);
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (ls->closed)
        return vmctl_fail(L, VMCTL_ECLOSED, "wait for news of a switch");
    if (status == LUA_OK) {
        vmctl_set_deadline(st, L, 2, INFINITY);
        return vmctl_park(st, L, &ls->sw.news, 2, status, ctx, switch_wait);
    }
    int why = vmctl_why(st, L);
    if (why)
        return vmctl_fail(L, why, "wait for news of a switch");
    lua_pushboolean(L, 1);
    return 1;
}

static int l_switch_wait(lua_State *L)
{
    luaL_checkudata(L, 1, VMCTL_SWITCH);
    lua_settop(L, 2);
    return switch_wait(L, LUA_OK, 0);
}

void vmctl_switch_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "inject", l_switch_inject },   { "pass_on", l_switch_pass_on }, { "addresses", l_switch_addresses },
        { "forget", l_switch_forget },   { "capture", vmctl_l_capture },  { "tap", vmctl_l_tap },
        { NULL, NULL }
    };
    const luaL_Reg *const lists[] = { methods, vmctl_switch_port_methods, vmctl_switch_settings };
    /* these wait, or end the thread: they are not called inside the switch */
    static const luaL_Reg others[] = { { "wait_news", l_switch_wait }, { "close", l_switch_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_switch_close }, { "__close", l_switch_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "switch", l_switch_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_SWITCH, others, meta);
    luaL_getmetatable(L, VMCTL_SWITCH);
    lua_getfield(L, -1, "__index");
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (const luaL_Reg *m = lists[i]; m->name; m++) {
            lua_pushcfunction(L, m->func);
            lua_pushcclosure(L, l_switch_enter, 1);
            lua_setfield(L, -2, m->name);
        }
    }
    lua_pop(L, 2);
    luaL_setfuncs(L, functions, 0);
}
