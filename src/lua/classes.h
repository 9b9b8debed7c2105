/* The classes of the core: their names, how one is made, and the functions by which module.c adds them. */
#ifndef VMCTL_LUA_CLASSES_H
#define VMCTL_LUA_CLASSES_H

#include <lauxlib.h>
#include <lua.h>

#define VMCTL_STATE "vmctl.State"
#define VMCTL_TASK "vmctl.Task"
#define VMCTL_SCOPE "vmctl.Scope"
#define VMCTL_STREAM "vmctl.Stream"
#define VMCTL_FORMAT "vmctl.Format"
#define VMCTL_LISTENER "vmctl.Listener"
#define VMCTL_PROCESS "vmctl.Process"
#define VMCTL_QUEUE "vmctl.Queue"
#define VMCTL_CALLS "vmctl.Calls"
#define VMCTL_REQUESTS "vmctl.Requests"
#define VMCTL_RELAY "vmctl.Relay"
#define VMCTL_MERGE "vmctl.Merge"

/* Makes a metatable: methods under __index, metamethods beside them. */
void vmctl_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* Each adds its class's metatable, and its functions to the module table on top of the stack. */
void vmctl_task_register(lua_State *L);
void vmctl_wrap_register(lua_State *L);
void vmctl_scope_register(lua_State *L);
void vmctl_loop_register(lua_State *L);
void vmctl_stream_register(lua_State *L);
void vmctl_stream_open_register(lua_State *L);
void vmctl_format_register(lua_State *L);
void vmctl_listener_register(lua_State *L);
void vmctl_connect_register(lua_State *L);
void vmctl_resolve_register(lua_State *L);
void vmctl_process_register(lua_State *L);
void vmctl_queue_register(lua_State *L);
void vmctl_calls_register(lua_State *L);
void vmctl_requests_register(lua_State *L);
void vmctl_trace_register(lua_State *L);
void vmctl_append_log_register(lua_State *L);
void vmctl_relay_register(lua_State *L);
void vmctl_merge_register(lua_State *L);
void vmctl_hypervisor_register(lua_State *L);
void vmctl_handover_register(lua_State *L);
void vmctl_codec_register(lua_State *L);
void vmctl_terminal_register(lua_State *L);
void vmctl_signals_register(lua_State *L);
void vmctl_hash_register(lua_State *L);
void vmctl_fs_register(lua_State *L);
void vmctl_work_register(lua_State *L);
void vmctl_switch_register(lua_State *L);
void vmctl_tap_register(lua_State *L);
void vmctl_capture_register(lua_State *L);
void vmctl_rootfs_register(lua_State *L);

#endif
