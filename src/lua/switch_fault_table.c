/* Reads a fault of a switch from a table that Lua has checked: numbers by name. */
#include "io/pcap_filter.h"
#include "lua/switch.h"
#include "wire/error.h"

#include <lauxlib.h>

static double field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    double value = lua_toboolean(L, -1) ? luaL_checknumber(L, -1) : 0;
    lua_pop(L, 1);
    return value;
}

static uint32_t whole_field(lua_State *L, const char *name)
{
    double value = field(L, name);
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : 0;
}

static bool flag(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static struct vmctl_chance chance(lua_State *L, const char *name)
{
    struct vmctl_chance c = { .chance = field(L, name) };
    lua_pushfstring(L, "%s_correlation", name);
    lua_gettable(L, -2);
    c.correlation = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return c;
}

static void read_table(lua_State *L, struct vmctl_fault *f)
{
    lua_getfield(L, -1, "table");
    for (lua_Integer i = 1; lua_istable(L, -1) && i <= VMCTL_FAULT_TABLE; i++) {
        if (lua_rawgeti(L, -1, i) != LUA_TNUMBER) {
            lua_pop(L, 1);
            break;
        }
        f->table[f->table_size++] = (float)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (f->distribution == VMCTL_TABLE && !f->table_size)
        f->distribution = VMCTL_UNIFORM;
}

static void read_match(lua_State *L, struct vmctl_fault *f)
{
    f->only = (struct vmctl_match){
        .to = (uint64_t)field(L, "match_to"), .from = (uint64_t)field(L, "match_from"), .either = (uint64_t)field(L, "match_mac"),
        .type = whole_field(L, "match_type"), .protocol = whole_field(L, "match_protocol"), .port = whole_field(L, "match_port"),
        .flags_set = whole_field(L, "match_set"), .flags_clear = whole_field(L, "match_clear")
    };
    f->first = whole_field(L, "match_first");
    f->last = whole_field(L, "match_last");
}

static void read_times(lua_State *L, struct vmctl_fault *f)
{
    f->delay = field(L, "delay");
    f->jitter = field(L, "jitter");
    f->distribution = (enum vmctl_distribution)whole_field(L, "distribution");
    f->jitter_correlation = field(L, "jitter_correlation");
    f->ordered = flag(L, "ordered");
    f->reorder_by = field(L, "reorder_by");
    f->slot_min = field(L, "slot_min");
    f->slot_max = field(L, "slot_max");
    f->slot_frames = whole_field(L, "slot_frames");
    f->limit = whole_field(L, "limit");
    read_table(L, f);
}

/* Comes last: an error after it would lose the filter. */
static void read_filter(lua_State *L, struct vmctl_fault *f)
{
    char why[256] = "";
    lua_getfield(L, -1, "match_filter");
    const char *expression = lua_tostring(L, -1);
    int err = expression ? vmctl_pcap_filter_compile(expression, &f->only.filter, why, sizeof why) : 0;
    if (err)
        luaL_error(L, "filter '%s': %s", expression, *why ? why : vmctl_error_text(err));
    lua_pop(L, 1);
}

const struct vmctl_fault *vmctl_switch_fault_check(lua_State *L, int arg, struct vmctl_fault *f)
{
    if (lua_isnoneornil(L, arg))
        return NULL;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_pushvalue(L, arg);
    *f = (struct vmctl_fault){
        .cut = flag(L, "cut"), .loss = chance(L, "loss"), .duplicate = chance(L, "duplicate"), .reorder = chance(L, "reorder"),
        .corrupt = chance(L, "corrupt"), .loss_every = whole_field(L, "loss_every"), .to_bad = field(L, "to_bad"),
        .to_good = field(L, "to_good"), .loss_bad = field(L, "loss_bad"), .loss_good = field(L, "loss_good"),
        .rate = field(L, "rate"), .overhead = field(L, "overhead"), .cell = field(L, "cell"),
        .cell_overhead = field(L, "cell_overhead"), .burst = field(L, "burst"), .latency = field(L, "latency")
    };
    read_times(L, f);
    read_match(L, f);
    read_filter(L, f);
    lua_pop(L, 1);
    return f;
}
