/* core.signals: signals of this program as records of a stream, for as long as an object lives. */
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/state.h"
#include "lua/stream.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#define VMCTL_MASK "vmctl.SignalMask"

struct mask {
    bool held;
    sigset_t before;
};

static void signal_set(lua_State *L, sigset_t *set)
{
    sigemptyset(set);
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_Integer i = 1; lua_rawgeti(L, 1, i) == LUA_TNUMBER; i++) {
        lua_Integer number = lua_tointeger(L, -1);
        if (number < 1 || number > SIGRTMAX || sigaddset(set, (int)number) < 0)
            luaL_argerror(L, 1, "no such signal");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* core.signals({ number, ... }) -> stream of records of 128 bytes that begin with the number (32 bits of this machine),
 * mask: until mask:close() these signals only come there, and have no other effect on this thread. Children of core.process do not
 * inherit this. */
static int l_signals(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    sigset_t set;
    signal_set(L, &set);
    struct vmctl_stream *s = vmctl_stream_new(L, st);
    struct mask *mask = lua_newuserdatauv(L, sizeof *mask, 0);
    mask->held = false;
    luaL_setmetatable(L, VMCTL_MASK);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return vmctl_fail(L, -errno, "signals");
    vmctl_stream_open(s, fd, -1, VMCTL_STREAM_PIPE);
    vmctl_stream_label(s, "signals");
    pthread_sigmask(SIG_BLOCK, &set, &mask->before);
    mask->held = true;
    return 2;
}

static int l_mask_close(lua_State *L)
{
    struct mask *mask = luaL_checkudata(L, 1, VMCTL_MASK);
    if (mask->held)
        pthread_sigmask(SIG_SETMASK, &mask->before, NULL);
    mask->held = false;
    return 0;
}

void vmctl_signals_register(lua_State *L)
{
    static const luaL_Reg methods[] = { { "close", l_mask_close }, { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_mask_close }, { "__close", l_mask_close }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "signals", l_signals }, { NULL, NULL } };
    vmctl_class(L, VMCTL_MASK, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
