/* The methods of vmctl.Switch about its ports: their connections and their counters. */
#include "io/switch_datagrams.h"
#include "io/sysio.h"
#include "io/tuntap.h"
#include "lua/address.h"
#include "lua/check.h"
#include "lua/fail.h"
#include "lua/switch.h"
#include "lua/text.h"

#include <errno.h>

/* sw:add(name) -> port */
static int l_switch_add(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    const char *name = vmctl_check_text(L, 2);
    struct vmctl_switch_port *p = NULL;
    if (!name)
        return vmctl_text_fail(L, "add port");
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
    struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
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
    const char *name = vmctl_check_text(L, 3);
    if (!name)
        return vmctl_text_fail(L, "open the TAP device");
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
    vmctl_switch_detach(vmctl_switch_port_check(L, 1, 2), VMCTL_ECLOSED);
    return 0;
}

static int l_switch_remove(lua_State *L)
{
    vmctl_switch_remove(vmctl_switch_port_check(L, 1, 2));
    return 0;
}

/* sw:state(port) -> true; or false and the code of the reason why it has no connection */
static int l_switch_state(lua_State *L)
{
    const struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
    lua_pushboolean(L, p->fd >= 0);
    if (p->fd >= 0)
        return 1;
    lua_pushstring(L, vmctl_error_name(p->ended));
    return 2;
}

/* sw:counts(port) -> table */
static int l_switch_counts(lua_State *L)
{
    const struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
    const struct vmctl_switch_counts *c = &p->count;
    lua_createtable(L, 0, 16);
    vmctl_switch_set_count(L, "frames_in", c->frames_in);
    vmctl_switch_set_count(L, "bytes_in", c->bytes_in);
    vmctl_switch_set_count(L, "frames_out", c->frames_out);
    vmctl_switch_set_count(L, "bytes_out", c->bytes_out);
    vmctl_switch_set_count(L, "dropped_full", c->dropped_full);
    vmctl_switch_set_count(L, "dropped_long", c->dropped_long);
    vmctl_switch_set_count(L, "dropped_link", c->dropped_link);
    vmctl_switch_set_count(L, "dropped_cut", c->dropped_cut);
    vmctl_switch_set_count(L, "dropped_loss", c->dropped_loss);
    vmctl_switch_set_count(L, "dropped_rate", c->dropped_rate);
    vmctl_switch_set_count(L, "invalid", c->invalid);
    vmctl_switch_set_count(L, "duplicated", c->duplicated);
    vmctl_switch_set_count(L, "corrupted", c->corrupted);
    vmctl_switch_set_count(L, "delayed", c->delayed);
    vmctl_switch_set_count(L, "flooded", c->flooded);
    vmctl_switch_set_count(L, "queued", p->queued);
    return 1;
}

/* sw:pair(from, to) -> frames, bytes, dropped */
static int l_switch_pair(lua_State *L)
{
    const struct vmctl_switch_pair *pair = &vmctl_switch_port_check(L, 1, 2)->pair[vmctl_switch_port_check(L, 1, 3)->index];
    lua_pushinteger(L, (lua_Integer)pair->frames);
    lua_pushinteger(L, (lua_Integer)pair->bytes);
    lua_pushinteger(L, (lua_Integer)pair->dropped);
    return 3;
}

const luaL_Reg vmctl_switch_port_methods[] = {
    { "add", l_switch_add },         { "attach", l_switch_attach },   { "attach_packets", l_switch_attach_packets },
    { "attach_tap", l_switch_attach_tap }, { "attach_datagrams", l_switch_attach_datagrams },
    { "detach", l_switch_detach },   { "remove", l_switch_remove },   { "state", l_switch_state },
    { "counts", l_switch_counts },   { "pair", l_switch_pair },       { NULL, NULL }
};
