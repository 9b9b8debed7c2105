/* The state behind one Lua state: the loop, the ready queue, the table of living tasks. */
#include "lua/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char state_key;

struct vmctl_lua *vmctl_lua_get(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    struct vmctl_lua *st = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!st || !st->open)
        luaL_error(L, "vmctl: the Lua state is being closed");
    return st;
}

void vmctl_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable"); /* scripts see no finalizer that they could call */
    lua_pop(L, 1);
}

int vmctl_fail(lua_State *L, int err, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return vmctl_fail_text(L, err, "%s: %s", what, vmctl_error_text(err));
}

int vmctl_fail_text(lua_State *L, int err, const char *fmt, ...)
{
    char text[768];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (err == -ENOMEM)
        luaL_error(L, "not enough memory");
    lua_pushnil(L);
    lua_pushstring(L, text);
    lua_pushstring(L, vmctl_error_name(err));
    return 3;
}

/* Ends the tasks that still wait, newest first, so that their <close> variables run; then every handle, then the loop. */
static int l_state_close(lua_State *L)
{
    struct vmctl_lua *st = luaL_checkudata(L, 1, VMCTL_STATE);
    if (!st->open)
        return 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &st->living) == LUA_TTABLE) {
        for (lua_Integer i = st->living; i > 0; i--) {
            lua_rawgeti(L, -1, i);
            struct vmctl_task *t = luaL_testudata(L, -1, VMCTL_TASK);
            if (t && t->co && t->status != VMCTL_TASK_RUNNING) {
                vmctl_list_remove(&t->waiter.link);
                vmctl_timer_stop(&st->loop, &t->timer);
                vmctl_wrap_close(t->co);
                lua_resetthread(t->co);
            }
            lua_pop(L, 1);
        }
    }
    st->open = st->traced = false;
    vmctl_loop_close(&st->loop);
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
    int err = vmctl_loop_open(&st->loop);
    if (err)
        return luaL_error(L, "vmctl: no event loop: %s", vmctl_error_text(err));
    st->open = true;
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    vmctl_task_init(&st->root, st);
    st->root.running = lua_tothread(L, -1);
    st->root.status = VMCTL_TASK_RUNNING;
    st->ready_tail = &st->ready;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &st->living);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &st->free_places);
    st->root_scope = vmctl_scope_new(L, NULL);
    lua_setiuservalue(L, -2, 1);
    lua_pop(L, 1);
    return 0;
}

__attribute__((visibility("default"))) int luaopen_vmctl_core(lua_State *L);

int luaopen_vmctl_core(lua_State *L)
{
    luaL_checkversion(L);
    lua_newtable(L);
    vmctl_task_register(L);
    vmctl_wrap_register(L);
    vmctl_scope_register(L);
    vmctl_loop_register(L);
    vmctl_stream_register(L);
    vmctl_listener_register(L);
    vmctl_connect_register(L);
    vmctl_process_register(L);
    vmctl_queue_register(L);
    vmctl_calls_register(L);
    vmctl_requests_register(L);
    vmctl_trace_register(L);
    vmctl_journal_register(L);
    vmctl_relay_register(L);
    vmctl_codec_register(L);
    vmctl_terminal_register(L);
    vmctl_hash_register(L);
    vmctl_fs_register(L);
    vmctl_switch_register(L);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TNIL)
        state_new(L);
    lua_pop(L, 1);
    return 1;
}
