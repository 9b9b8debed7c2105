/* The files that fill the table core.fs. */
#ifndef VMCTL_LUA_FS_H
#define VMCTL_LUA_FS_H

#include <lua.h>
#include <stdbool.h>
#include <sys/stat.h>

#define VMCTL_ROOT "vmctl.Root"
#define VMCTL_FILE "vmctl.File"

/* Each adds its functions to the table on top of the stack. */
void vmctl_fs_replace_register(lua_State *L);
void vmctl_fs_system_register(lua_State *L);
void vmctl_fs_root_register(lua_State *L);
void vmctl_fs_file_register(lua_State *L);
void vmctl_fs_listen_register(lua_State *L);

/* Methods of vmctl.Root, in fs_xattr.c. */
int vmctl_l_root_xattrs(lua_State *L);
int vmctl_l_root_set_xattr(lua_State *L);

/* Pushes the properties of a file, as a table. */
void vmctl_fs_push_stat(lua_State *L, const struct stat *st);
const char *vmctl_fs_type(mode_t mode);

/* True if a number is a user's or a group's id, or -1. */
bool vmctl_fs_is_owner(lua_Integer id);

/* For work.c. Copies an object of core.fs from one Lua state to another, with a descriptor of its own, or (`move`) with that of the
 * first, which is closed then. -EINVAL: it is none; or why there is no descriptor. The copy is pushed unless it is none. */
int vmctl_fs_copy(lua_State *from, int at, lua_State *to, bool move);

/* Closes an object of core.fs. */
void vmctl_fs_release(lua_State *L, int at);

/* The name that a vmctl.File was opened by; NULL: it is none. Valid while it lives. */
const char *vmctl_fs_name(lua_State *L, int at);

/* Pushes a closed vmctl.File of that name; the result is where its fd goes. */
int *vmctl_file_new(lua_State *L, const char *name);

/* Where a vmctl.File has its descriptor; -1: it is closed. */
int *vmctl_file_descriptor(lua_State *L, int at);

/* The descriptor of an open vmctl.File that needs no worker; else -1. */
int vmctl_file_quick(lua_State *L, int at);

/* Looks at where an open vmctl.File lies: see its method `quick`. */
void vmctl_file_judge(lua_State *L, int at);

#endif
