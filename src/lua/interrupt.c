/* Lets the hook by which `lua` raises "interrupted!" run while the main state waits in the loop. */
#include "lua/interrupt.h"

#include "lua/state.h"

#include <lauxlib.h>

/* Tells if the hook wants to be called at the first opportunity, as no hook of a debugger or profiler does. */
static bool wants_any_call(lua_State *L)
{
    const int any = LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT;
    return lua_gethook(L) && (lua_gethookmask(L) & any) == any && lua_gethookcount(L) == 1;
}

bool vmctl_interrupt_pending(const struct vmctl_lua *st)
{
    return wants_any_call(st->main) && lua_gethook(st->main) != st->heard;
}

static bool on_before_wait(struct vmctl_loop *loop)
{
    return vmctl_interrupt_pending(VMCTL_CONTAINER(loop, struct vmctl_lua, loop));
}

void vmctl_interrupt_watch(struct vmctl_lua *st)
{
    st->loop.interrupted = on_before_wait;
}

void vmctl_interrupt_unwatch(struct vmctl_lua *st)
{
    st->loop.interrupted = NULL;
}

static int nothing(lua_State *L)
{
    (void)L;
    return 0;
}

/* The hook belongs to the main state, which may have resumed the coroutine that drives the loop: a call on top of its stack
 * does no harm, and an error of the hook ends here. */
bool vmctl_interrupt_hear(lua_State *L, struct vmctl_lua *st)
{
    luaL_checkstack(st->main, 2, "an interrupt");
    lua_pushcfunction(st->main, nothing);
    if (lua_pcall(st->main, 0, 0, 0) == LUA_OK) {
        st->heard = lua_gethook(st->main); /* a hook that stays and raises nothing is not called again */
        return false;
    }
    if (st->main != L)
        lua_xmove(st->main, L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &st->interrupted);
    st->interrupted = true;
    return true;
}

void vmctl_interrupt_raise(lua_State *L, struct vmctl_lua *st)
{
    if (!st->interrupted)
        return;
    st->interrupted = false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &st->interrupted);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &st->interrupted);
    lua_error(L);
}
