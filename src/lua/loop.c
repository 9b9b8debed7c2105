/* The loop as a host program with its own event loop sees it, and its clock. */
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/interrupt.h"
#include "lua/park.h"

#include <errno.h>
#include <math.h>
#include <time.h>

static int l_loop_pollfd(lua_State *L)
{
    int fd = vmctl_loop_fd(&vmctl_lua_get(L)->loop);
    if (fd < 0)
        return vmctl_fail(L, fd, "pollfd");
    lua_pushinteger(L, fd);
    return 1;
}

static int l_loop_events(lua_State *L)
{
    vmctl_lua_get(L);
    lua_pushliteral(L, "r");
    return 1;
}

static int l_loop_timeout(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    double next = st->ready ? -INFINITY : vmctl_loop_next(&st->loop);
    if (isinf(next) && next > 0)
        return 0;
    double left = isinf(next) ? 0 : next - vmctl_loop_now(&st->loop);
    lua_pushnumber(L, left > 0 ? left : 0);
    return 1;
}

static int l_loop_step(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    double seconds = luaL_optnumber(L, 1, 0);
    if (st->driver)
        return luaL_error(L, "step inside of a task or a callback of the same loop");
    bool alive = vmctl_drive(L, st, seconds > 0 ? vmctl_loop_now(&st->loop) + seconds : -INFINITY, NULL, true);
    vmctl_interrupt_raise(L, st);
    vmctl_scope_raise_orphans(L, st);
    lua_pushboolean(L, alive);
    return 1;
}

static int l_now(lua_State *L)
{
    lua_pushnumber(L, vmctl_loop_now(&vmctl_lua_get(L)->loop));
    return 1;
}

/* core.virtual(grace) -> the grace before; nil: the clock was, or is to be, a real one. See vmctl_loop_set_virtual. */
static int l_virtual(lua_State *L)
{
    struct vmctl_loop *loop = &vmctl_lua_get(L)->loop;
    double before = loop->grace, grace = luaL_optnumber(L, 1, -1);
    luaL_argcheck(L, lua_isnoneornil(L, 1) || (grace >= 0 && grace <= 1), 1, "seconds from 0 to 1 expected");
    vmctl_loop_set_virtual(loop, grace);
    if (before < 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, before);
    return 1;
}

/* core.unix_time() -> nanoseconds since 1970, by the clock on the wall: for names, not for waits */
static int l_unix_time(lua_State *L)
{
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail: the clock is there and so is the memory */
    lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000000 + now.tv_nsec);
    return 1;
}

/* core.set_unix_time(nanoseconds) -> true: sets the clock on the wall */
static int l_set_unix_time(lua_State *L)
{
    lua_Integer at = luaL_checkinteger(L, 1);
    luaL_argcheck(L, at >= 0, 1, "a time since 1970 expected");
    struct timespec then = { .tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000) };
    if (clock_settime(CLOCK_REALTIME, &then) < 0)
        return vmctl_fail(L, -errno, "set the clock");
    lua_pushboolean(L, 1);
    return 1;
}

/* core.forked() -> true in the child of a fork, whose objects are copies of its parent's: an object must not remove files there. */
static int l_forked(lua_State *L)
{
    lua_pushboolean(L, !vmctl_loop_is_ours(&vmctl_lua_get(L)->loop));
    return 1;
}

void vmctl_loop_register(lua_State *L)
{
    static const luaL_Reg functions[] = { { "now", l_now },
                                          { "forked", l_forked },
                                          { "virtual", l_virtual },
                                          { "unix_time", l_unix_time },
                                          { "set_unix_time", l_set_unix_time },
                                          { NULL, NULL } };
    static const luaL_Reg loop[] = { { "pollfd", l_loop_pollfd },
                                     { "events", l_loop_events },
                                     { "timeout", l_loop_timeout },
                                     { "step", l_loop_step },
                                     { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
    luaL_newlib(L, loop);
    lua_setfield(L, -2, "loop");
}
