/* Opens the module vmctl.core, and makes and ends the state behind it. */
#include "io/standard_fds.h"
#include "lua/classes.h"
#include "lua/state.h"
#include "lua/work.h"
#include "wire/error.h"

#include <string.h>

/* Ends the tasks that still wait, newest first, so that their <close> variables run; then every handle, then the loop. */
static int l_state_close(lua_State *L)
{
    struct vmctl_lua *st = luaL_checkudata(L, 1, VMCTL_STATE);
    if (!st->open)
        return 0;
    if (vmctl_loop_is_ours(&st->loop))
        vmctl_task_end_all(L, st);
    st->open = st->traced = false;
    vmctl_loop_close(&st->loop);
    vmctl_work_close(st);
    return 0;
}

static int state_new(lua_State *L)
{
    struct vmctl_lua *st = lua_newuserdatauv(L, sizeof *st, 1);
    memset(st, 0, sizeof *st);
    luaL_newmetatable(L, VMCTL_STATE);
    lua_pushcfunction(L, l_state_close);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    struct vmctl_standard_hold hold;
    vmctl_standard_fds_hold(&hold); /* a program that was started without input must not read the loop's timer */
    int err = vmctl_loop_open(&st->loop);
    vmctl_standard_fds_release(&hold);
    if (err)
        return luaL_error(L, "vmctl: no event loop: %s", vmctl_error_text(err));
    st->open = true;
    lua_pushvalue(L, -1);
    vmctl_lua_set(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    vmctl_task_init(&st->root, st);
    st->main = st->root.running = lua_tothread(L, -1);
    st->root.status = VMCTL_TASK_RUNNING;
    st->ready_tail = &st->ready;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &st->living);
    st->root_scope = vmctl_scope_new(L, NULL);
    lua_setiuservalue(L, -2, 1);
    lua_pop(L, 1);
    return 0;
}

enum { LUA_OLDEST = 3 }; /* 5.4.3: a <close> variable may wait from there on */

/* The Lua that runs, which need not be the one of the headers. */
static void check_lua(lua_State *L)
{
    luaL_checkversion(L);
    const char *at = strstr(lua_ident, "Lua 5.4.");
    if (at && at[8] < '0' + LUA_OLDEST && (at[9] < '0' || at[9] > '9'))
        luaL_error(L, "vmctl needs Lua 5.4.3 or newer, and this is 5.4.%c", at[8]);
}

__attribute__((visibility("default"))) int luaopen_vmctl_core(lua_State *L);

int luaopen_vmctl_core(lua_State *L)
{
    check_lua(L);
    lua_newtable(L);
    lua_pushliteral(L, VMCTL_VERSION);
    lua_setfield(L, -2, "version");
    vmctl_task_register(L);
    vmctl_wrap_register(L);
    vmctl_scope_register(L);
    vmctl_loop_register(L);
    vmctl_stream_register(L);
    vmctl_stream_open_register(L);
    vmctl_format_register(L);
    vmctl_listener_register(L);
    vmctl_connect_register(L);
    vmctl_resolve_register(L);
    vmctl_process_register(L);
    vmctl_queue_register(L);
    vmctl_calls_register(L);
    vmctl_requests_register(L);
    vmctl_trace_register(L);
    vmctl_append_log_register(L);
    vmctl_relay_register(L);
    vmctl_merge_register(L);
    vmctl_hypervisor_register(L);
    vmctl_handover_register(L);
    vmctl_codec_register(L);
    vmctl_terminal_register(L);
    vmctl_signals_register(L);
    vmctl_hash_register(L);
    vmctl_fs_register(L);
    vmctl_work_register(L);
#ifndef VMCTL_WITHOUT_SWITCH
    vmctl_switch_register(L);
    vmctl_tap_register(L);
    vmctl_capture_register(L);
#endif
#ifndef VMCTL_WITHOUT_ROOTFS /* the agent makes no images */
    vmctl_rootfs_register(L);
#endif
    if (!vmctl_lua_made(L))
        state_new(L);
    return 1;
}
