/* Reads the table that core.process gets into a description of a child. */
#include "lua/process_options.h"
#include "lua/check.h"
#include "lua/text.h"

#include <lauxlib.h>
#include <limits.h>

static const lua_Integer SPAWN_ID = UINT32_MAX - 1; /* the highest id of a user or group: one more means "as it is" */

/* An array of strings in field `name` of the table at 1, as a NULL-terminated vector that lives as long as the stack slot
 * it leaves behind; NULL (and a nil) when there is none. */
static char *const *field_strings(lua_State *L, const char *name)
{
    if (lua_getfield(L, 1, name) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_pushnil(L);
        return NULL;
    }
    lua_Integer n = luaL_len(L, -1);
    const char **vector = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *vector, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, -2, i) != LUA_TSTRING)
            luaL_error(L, "%s: strings expected", name);
        vector[i - 1] = vmctl_check_text(L, -1); /* the table keeps the string alive */
        if (!vector[i - 1])
            luaL_error(L, "%s: a string with a NUL byte", name);
        lua_pop(L, 1);
    }
    vector[n] = NULL;
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    return (char *const *)vector;
}

lua_Integer vmctl_field_integer(lua_State *L, const char *name, lua_Integer otherwise, lua_Integer most)
{
    lua_getfield(L, 1, name);
    lua_Integer v = lua_isnil(L, -1) ? otherwise : luaL_checkinteger(L, -1);
    if (v < -1 || v > most)
        luaL_error(L, "%s: a number up to %I expected, got %I", name, most, v);
    lua_pop(L, 1);
    return v;
}

bool vmctl_field_boolean(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

static const char *field_string(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    const char *v = vmctl_opt_text(L, -1, NULL);
    if (!v && !lua_isnil(L, -1))
        luaL_error(L, "%s: a string with a NUL byte", name);
    lua_pop(L, 1); /* the table keeps it alive */
    return v;
}

static void spawn_identity(lua_State *L, struct vmctl_spawn *how)
{
    lua_Integer uid = vmctl_field_integer(L, "uid", -1, SPAWN_ID);
    if (uid < 0)
        return;
    how->set_user = true;
    how->uid = (uid_t)uid;
    how->gid = (gid_t)vmctl_field_integer(L, "gid", uid, SPAWN_ID);
    if (lua_getfield(L, 1, "groups") == LUA_TTABLE) {
        size_t n = (size_t)luaL_len(L, -1);
        gid_t *groups = lua_newuserdatauv(L, (n + 1) * sizeof *groups, 0);
        for (size_t i = 0; i < n; i++) {
            lua_rawgeti(L, -2, (lua_Integer)i + 1);
            groups[i] = (gid_t)vmctl_check_range(L, -1, 0, SPAWN_ID);
            lua_pop(L, 1);
        }
        how->groups = groups; /* the userdata stays on the stack until the spawn is over */
        how->ngroups = n;
    }
}

/* `fds`: an array of fds that become the child's 3, 4, … */
static void spawn_more_fds(lua_State *L, struct vmctl_spawn *how)
{
    if (lua_getfield(L, 1, "fds") == LUA_TTABLE) {
        lua_Integer n = luaL_len(L, -1);
        if (n > VMCTL_SPAWN_FDS - 3)
            luaL_error(L, "fds: at most %d expected", VMCTL_SPAWN_FDS - 3);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, -1, i);
            how->fds[how->nfds++] = vmctl_check_fd(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

void vmctl_spawn_describe(lua_State *L, struct vmctl_spawn *how)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    *how = (struct vmctl_spawn){ .tty = -1, .cgroup = -1, .fds = { -1, -1, -1 }, .nfds = 3 };
    how->argv = field_strings(L, "argv");
    how->env = vmctl_field_env(L, vmctl_field_boolean(L, "clear_env"));
    if (!how->argv || !how->argv[0])
        luaL_error(L, "argv: an array with at least one string expected");
    how->file = field_string(L, "file");
    if (!how->file)
        how->file = how->argv[0];
    how->cwd = field_string(L, "cwd");
    how->session = vmctl_field_boolean(L, "session");
    how->group = vmctl_field_boolean(L, "group");
    how->confine = vmctl_field_boolean(L, "confine");
    how->landlock = (int)vmctl_field_integer(L, "landlock", 0, INT_MAX);
    how->open_files = (unsigned)vmctl_field_integer(L, "open_files", 0, INT_MAX);
    how->death_signal = (int)vmctl_field_integer(L, "death_signal", 0, INT_MAX);
    spawn_more_fds(L, how);
    spawn_identity(L, how);
}
