/* The methods of vmctl.Switch that set limits, groups and faults. */
#include "io/pcap_filter.h"
#include "lua/check.h"
#include "lua/fail.h"
#include "lua/switch.h"

static int l_switch_group(lua_State *L)
{
    vmctl_switch_port_check(L, 1, 2)->group = vmctl_check_u32(L, 3);
    return 0;
}

static int l_switch_queue(lua_State *L)
{
    struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
    lua_Integer bytes = luaL_checkinteger(L, 3);
    luaL_argcheck(L, bytes >= VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX, 3, "too small for the longest frame");
    p->queue_max = (size_t)bytes;
    return 0;
}

/* sw:longest(port, bytes): the longest frame that the port takes */
static int l_switch_longest(lua_State *L)
{
    struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
    lua_Integer bytes = luaL_checkinteger(L, 3);
    luaL_argcheck(L, bytes >= VMCTL_ETHER_MIN && bytes <= VMCTL_ETHER_MAX, 3, "the length of a frame expected");
    p->longest = (size_t)bytes;
    return 0;
}

/* sw:mirror(port or nil) */
static int l_switch_mirror(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    sw->mirror = lua_isnoneornil(L, 2) ? -1 : vmctl_switch_port_check(L, 1, 2)->index;
    return 0;
}

/* sw:memory(bytes): the limit of all queues, and that of delayed frames */
static int l_switch_memory(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    lua_Integer bytes = luaL_checkinteger(L, 2);
    luaL_argcheck(L, bytes >= VMCTL_ETHER_HEAD + VMCTL_ETHER_MAX, 2, "too small for the longest frame");
    luaL_argcheck(L, sw->delayed_bytes <= (size_t)bytes, 2, "more is delayed already");
    sw->queued_max = sw->delayed_max = (size_t)bytes;
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
    struct vmctl_switch_port *p = vmctl_switch_port_check(L, 1, 2);
    int direction = luaL_checkoption(L, 3, NULL, directions);
    struct vmctl_fault f;
    const struct vmctl_fault *set = vmctl_switch_fault_check(L, 4, &f);
    return fault_result(L, direction == 0 ? vmctl_switch_fault_from(p, set) : vmctl_switch_fault_to(p, set), set);
}

/* sw:fault_pair(from, to, fault or nil) */
static int l_switch_fault_pair(lua_State *L)
{
    struct vmctl_switch_port *from = vmctl_switch_port_check(L, 1, 2), *to = vmctl_switch_port_check(L, 1, 3);
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

const luaL_Reg vmctl_switch_settings[] = {
    { "group", l_switch_group },     { "queue", l_switch_queue },     { "longest", l_switch_longest },
    { "mirror", l_switch_mirror },   { "memory", l_switch_memory },   { "age", l_switch_age },
    { "fault", l_switch_fault },     { "fault_pair", l_switch_fault_pair }, { "seed", l_switch_seed },
    { NULL, NULL }
};
