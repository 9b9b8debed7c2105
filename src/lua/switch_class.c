/* The class vmctl.Switch: the Ethernet switch as Lua sees it. Ports are numbers here; vmctl.l2 makes objects of them. */
#include "io/sysio.h"
#include "io/tuntap.h"
#include "io/pcap_filter.h"
#include "io/switch_datagrams.h"
#include "lua/address.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/switch.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

static struct vmctl_switch_port *port_check(lua_State *L, int sw_arg, int arg)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, sw_arg);
    lua_Integer index = luaL_checkinteger(L, arg);
    luaL_argcheck(L, index >= 0 && index < sw->ports && sw->port[index], arg, "no such port");
    return sw->port[index];
}

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

/* Calls a method, the upvalue, inside the switch: whatever it raises, the switch is left again. */
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

/* sw:add(name) -> port */
static int l_switch_add(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct vmctl_switch_port *p = NULL;
    int err = vmctl_switch_add(sw, name, &p);
    if (err == -ENOSPC)
        return vmctl_fail_text(L, err, "add a port: a switch has at most %d", VMCTL_SWITCH_PORTS);
    if (err)
        return vmctl_fail(L, err, "add a port");
    lua_pushinteger(L, p->index);
    return 1;
}

static struct vmctl_switch_port *idle_port_check(lua_State *L)
{
    struct vmctl_switch_port *p = port_check(L, 1, 2);
    if (p->fd >= 0)
        luaL_error(L, "port %s has a connection", p->name);
    return p;
}

/* sw:attach(port, fd, bytes): the descriptor is taken */
static int l_switch_attach(lua_State *L)
{
    struct vmctl_switch_port *p = idle_port_check(L);
    size_t len;
    int fd = vmctl_check_fd(L, 3);
    const char *bytes = luaL_checklstring(L, 4, &len);
    int err = vmctl_switch_attach(p, VMCTL_PORT_STREAM, fd, bytes, len);
    if (err)
        return vmctl_fail(L, err, "attach to port %s", p->name);
    lua_pushboolean(L, 1);
    return 1;
}

/* sw:attach_packets(port, fd): a SOCK_SEQPACKET socket, a frame each; it is taken */
static int l_switch_attach_packets(lua_State *L)
{
    struct vmctl_switch_port *p = idle_port_check(L);
    int fd = vmctl_check_fd(L, 3), err = vmctl_sys_prepare(fd);
    if (!err)
        err = vmctl_switch_attach(p, VMCTL_PORT_PACKETS, fd, "", 0);
    if (err)
        return vmctl_fail(L, err, "attach to port %s", p->name);
    lua_pushboolean(L, 1);
    return 1;
}

/* sw:attach_tap(port, name) -> its name: the TAP device of that name */
static int l_switch_attach_tap(lua_State *L)
{
    struct vmctl_switch_port *p = idle_port_check(L);
    const char *name = luaL_checkstring(L, 3);
    char chosen[VMCTL_TAP_NAME];
    int fd, err = vmctl_tap_open(name, chosen, &fd);
    if (!err)
        err = vmctl_switch_attach(p, VMCTL_PORT_TAP, fd, "", 0);
    if (err)
        return vmctl_fail(L, err, "open the TAP device %s", name);
    lua_pushstring(L, chosen);
    return 1;
}

/* sw:attach_datagrams(port, local, remote or nil): addresses as tables of core, of kind "unix" or "tcp" (for UDP) */
static int l_switch_attach_datagrams(lua_State *L)
{
    struct vmctl_switch_port *p = idle_port_check(L);
    struct vmctl_addr local, remote;
    bool has_remote = !lua_isnoneornil(L, 4);
    int err = vmctl_address_check(L, 3, &local);
    if (!err && has_remote)
        err = vmctl_address_check(L, 4, &remote);
    if (!err)
        err = vmctl_switch_attach_datagrams(p, &local, has_remote ? &remote : NULL);
    if (err)
        return vmctl_fail(L, err, "bind the datagrams of port %s", p->name);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_switch_detach(lua_State *L)
{
    vmctl_switch_detach(port_check(L, 1, 2), VMCTL_ECLOSED);
    return 0;
}

static int l_switch_remove(lua_State *L)
{
    vmctl_switch_remove(port_check(L, 1, 2));
    return 0;
}

/* sw:state(port) -> true; or false and the code of the reason why it has no connection */
static int l_switch_state(lua_State *L)
{
    const struct vmctl_switch_port *p = port_check(L, 1, 2);
    lua_pushboolean(L, p->fd >= 0);
    if (p->fd >= 0)
        return 1;
    lua_pushstring(L, vmctl_error_name(p->ended));
    return 2;
}

static void set_count(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

/* sw:counts(port) -> table */
static int l_switch_counts(lua_State *L)
{
    const struct vmctl_switch_port *p = port_check(L, 1, 2);
    const struct vmctl_switch_counts *c = &p->count;
    lua_createtable(L, 0, 16);
    set_count(L, "frames_in", c->frames_in);
    set_count(L, "bytes_in", c->bytes_in);
    set_count(L, "frames_out", c->frames_out);
    set_count(L, "bytes_out", c->bytes_out);
    set_count(L, "dropped_full", c->dropped_full);
    set_count(L, "dropped_long", c->dropped_long);
    set_count(L, "dropped_link", c->dropped_link);
    set_count(L, "dropped_cut", c->dropped_cut);
    set_count(L, "dropped_loss", c->dropped_loss);
    set_count(L, "dropped_rate", c->dropped_rate);
    set_count(L, "invalid", c->invalid);
    set_count(L, "duplicated", c->duplicated);
    set_count(L, "corrupted", c->corrupted);
    set_count(L, "delayed", c->delayed);
    set_count(L, "flooded", c->flooded);
    set_count(L, "queued", p->queued);
    return 1;
}

/* sw:pair(from, to) -> frames, bytes, dropped */
static int l_switch_pair(lua_State *L)
{
    const struct vmctl_switch_pair *pair = &port_check(L, 1, 2)->pair[port_check(L, 1, 3)->index];
    lua_pushinteger(L, (lua_Integer)pair->frames);
    lua_pushinteger(L, (lua_Integer)pair->bytes);
    lua_pushinteger(L, (lua_Integer)pair->dropped);
    return 3;
}

static int l_switch_group(lua_State *L)
{
    port_check(L, 1, 2)->group = vmctl_check_u32(L, 3);
    return 0;
}

static int l_switch_queue(lua_State *L)
{
    struct vmctl_switch_port *p = port_check(L, 1, 2);
    lua_Integer bytes = luaL_checkinteger(L, 3);
    luaL_argcheck(L, bytes >= VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX, 3, "too small for the longest frame");
    p->queue_max = (size_t)bytes;
    return 0;
}

/* sw:longest(port, bytes): of a frame that it takes */
static int l_switch_longest(lua_State *L)
{
    struct vmctl_switch_port *p = port_check(L, 1, 2);
    lua_Integer bytes = luaL_checkinteger(L, 3);
    luaL_argcheck(L, bytes >= VMCTL_ETHER_MIN && bytes <= VMCTL_ETHER_MAX, 3, "the length of a frame expected");
    p->longest = (size_t)bytes;
    return 0;
}

/* sw:mirror(port or nil) */
static int l_switch_mirror(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    sw->mirror = lua_isnoneornil(L, 2) ? -1 : port_check(L, 1, 2)->index;
    return 0;
}

/* sw:memory(bytes): of all queues, and as much of delayed frames */
static int l_switch_memory(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    lua_Integer bytes = luaL_checkinteger(L, 2);
    luaL_argcheck(L, bytes >= VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX, 2, "too small for the longest frame");
    luaL_argcheck(L, sw->held_bytes <= (size_t)bytes, 2, "more is held already");
    sw->queued_max = sw->held_max = (size_t)bytes;
    return 0;
}

static int l_switch_age(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    lua_Integer seconds = luaL_checkinteger(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds < INT32_MAX, 2, "a number of seconds expected");
    sw->macs.age = (uint32_t)seconds;
    sw->macs.changes++;
    return 0;
}

static int fault_result(lua_State *L, int err, const struct vmctl_fault *set)
{
    if (!err)
        return 0;
    if (set)
        vmctl_pcap_filter_free(set->only.filter);
    return vmctl_fail(L, err, "set a fault");
}

/* sw:fault(port, "from" | "to", fault or nil) */
static int l_switch_fault(lua_State *L)
{
    static const char *const directions[] = { "from", "to", NULL };
    struct vmctl_switch_port *p = port_check(L, 1, 2);
    int direction = luaL_checkoption(L, 3, NULL, directions);
    struct vmctl_fault f;
    const struct vmctl_fault *set = vmctl_switch_fault_check(L, 4, &f);
    return fault_result(L, direction == 0 ? vmctl_switch_fault_from(p, set) : vmctl_switch_fault_to(p, set), set);
}

/* sw:fault_pair(from, to, fault or nil) */
static int l_switch_fault_pair(lua_State *L)
{
    struct vmctl_switch_port *from = port_check(L, 1, 2), *to = port_check(L, 1, 3);
    struct vmctl_fault f;
    const struct vmctl_fault *set = vmctl_switch_fault_check(L, 4, &f);
    return fault_result(L, vmctl_switch_fault_pair(from, to, set), set);
}

/* sw:seed(n): the faults begin anew as with a switch of that seed */
static int l_switch_seed(lua_State *L)
{
    vmctl_switch_seed(vmctl_switch_check(L, 1), (uint64_t)luaL_checkinteger(L, 2));
    return 0;
}

static int inject(lua_State *L, int (*fn)(struct vmctl_switch_port *, const uint8_t *, size_t))
{
    struct vmctl_switch_port *p = port_check(L, 1, 2);
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
        set_count(L, "vlan", e->key >> 48);
        set_count(L, "port", (uint64_t)e->port);
        set_count(L, "age", now - e->seen);
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
        { "add", l_switch_add },         { "attach", l_switch_attach },   { "detach", l_switch_detach },
        { "attach_packets", l_switch_attach_packets }, { "attach_tap", l_switch_attach_tap },
        { "attach_datagrams", l_switch_attach_datagrams },
        { "remove", l_switch_remove },   { "state", l_switch_state },     { "counts", l_switch_counts },
        { "pair", l_switch_pair },       { "group", l_switch_group },     { "queue", l_switch_queue },
        { "mirror", l_switch_mirror },   { "longest", l_switch_longest }, { "memory", l_switch_memory },   { "age", l_switch_age },         { "fault", l_switch_fault },     { "fault_pair", l_switch_fault_pair },
        { "seed", l_switch_seed },       { "inject", l_switch_inject },   { "addresses", l_switch_addresses },
        { "pass_on", l_switch_pass_on },
        { "forget", l_switch_forget },   { "capture", vmctl_l_capture },  { "tap", vmctl_l_tap },
        { NULL, NULL }
    };
    /* these wait, or end the thread: they are not called inside the switch */
    static const luaL_Reg others[] = { { "wait_news", l_switch_wait }, { "close", l_switch_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_switch_close }, { "__close", l_switch_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "switch", l_switch_new }, { NULL, NULL } };
    vmctl_class(L, VMCTL_SWITCH, others, meta);
    luaL_getmetatable(L, VMCTL_SWITCH);
    lua_getfield(L, -1, "__index");
    for (const luaL_Reg *m = methods; m->name; m++) {
        lua_pushcfunction(L, m->func);
        lua_pushcclosure(L, l_switch_enter, 1);
        lua_setfield(L, -2, m->name);
    }
    lua_pop(L, 2);
    luaL_setfuncs(L, functions, 0);
}
