/* vmctl.AppendLog: a private file that lines are appended to, each by one write(2): several processes may write the same file,
 * and written lines survive a crash of ours. It must be a regular file: a FIFO could make the program wait for a reader. */
#include "io/fs_private.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/text.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#define VMCTL_APPEND_LOG "vmctl.AppendLog"

struct append_log {
    int fd;      /* -1: closed */
    bool torn;   /* the last line is not whole: the next one begins with a line feed */
};

static struct append_log *append_log_check(lua_State *L)
{
    return luaL_checkudata(L, 1, VMCTL_APPEND_LOG);
}

/* core.append_log(path) -> log, the file's size */
static int l_append_log(lua_State *L)
{
    const char *path = vmctl_check_text(L, 1);
    if (!path)
        return vmctl_text_fail(L, "open the log");
    struct append_log *j = lua_newuserdatauv(L, sizeof *j, 0);
    *j = (struct append_log){ .fd = -1 };
    luaL_setmetatable(L, VMCTL_APPEND_LOG);
    struct stat st;
    int err = vmctl_private_open(path, false, &j->fd, &st);
    if (err)
        return vmctl_fail(L, err, "open the log %s", path);
    lua_pushinteger(L, (lua_Integer)st.st_size);
    return 2;
}

/* j:append(line) -> true. The line ends with its line feed. Never waits, but for the file system. */
static int l_append_log_append(lua_State *L)
{
    struct append_log *j = append_log_check(L);
    size_t len;
    const char *line = luaL_checklstring(L, 2, &len);
    if (j->fd < 0)
        return vmctl_fail(L, VMCTL_ECLOSED, "append to a log");
    if (j->torn && write(j->fd, "\n", 1) == 1)
        j->torn = false;
    ssize_t put = write(j->fd, line, len);
    if (put >= 0 && (size_t)put == len) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int err = put < 0 ? -errno : -ENOSPC;
    j->torn = j->torn || put > 0;
    return vmctl_fail(L, err, "append to a log");
}

/* j:close(): idempotent */
static int l_append_log_close(lua_State *L)
{
    struct append_log *j = append_log_check(L);
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
    lua_pushboolean(L, 1);
    return 1;
}

void vmctl_append_log_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "append", l_append_log_append }, { "close", l_append_log_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_append_log_close }, { "__close", l_append_log_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "append_log", l_append_log }, { NULL, NULL } };
    vmctl_class(L, VMCTL_APPEND_LOG, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
