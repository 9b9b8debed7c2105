/* The userdata of a stream: made, recognised, named. Its class is in stream_class.c. */
#include "lua/stream.h"

#include "lua/classes.h"
#include "lua/fail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const double STREAM_TIMEOUT = 60; /* seconds; for reads and writes that were given none */

static const char stream_mark;

struct vmctl_stream *vmctl_stream_new(lua_State *L, struct vmctl_lua *st)
{
    struct vmctl_lua_stream *ls = lua_newuserdatauv(L, sizeof *ls, VMCTL_STREAM_VALUES);
    vmctl_stream_init(&ls->s, &st->loop);
    ls->mark = &stream_mark;
    ls->read_timeout = ls->write_timeout = STREAM_TIMEOUT;
    ls->child = NULL;
    luaL_setmetatable(L, VMCTL_STREAM);
    return &ls->s;
}

/* Each call of a stream begins with this, and luaL_checkudata looks the class up by its name each time: that was the largest
 * part of a small frame's cost. No other library's userdata holds the address of our mark. */
struct vmctl_lua_stream *vmctl_stream_check(lua_State *L, int arg)
{
    struct vmctl_lua_stream *ls = lua_touserdata(L, arg);
    if (ls && lua_type(L, arg) == LUA_TUSERDATA && lua_rawlen(L, arg) == sizeof *ls && ls->mark == &stream_mark)
        return ls;
    return luaL_checkudata(L, arg, VMCTL_STREAM);
}

void vmctl_stream_label(struct vmctl_stream *s, const char *label)
{
    char *copy = strdup(label);
    if (!copy)
        return; /* only messages show it */
    free(s->label);
    s->label = copy;
}

const char *vmctl_stream_name(const struct vmctl_stream *s)
{
    return s->label ? s->label : "stream";
}

int vmctl_stream_busy(lua_State *L, struct vmctl_stream *s, struct vmctl_waitq *q, const char *what)
{
    if (!vmctl_waitq_busy(q))
        return 0;
    return vmctl_fail_text(L, -EBUSY, "%s %s: another task is at it", what, vmctl_stream_name(s));
}
