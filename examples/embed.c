/* vmctl inside a C program that has an event loop of its own: the program polls the descriptor of vmctl.loop beside its own
 * ones, for as long as vmctl.loop.timeout allows, and then lets vmctl take a step.
 * Usage: make examples (builds build/examples/embed), or cc examples/embed.c $(pkg-config --cflags --libs lua5.4) -lm
 * You will see ticks of the program's own timer while a command runs in a task of vmctl, and then what the command printed. */
#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TICK = 100 * 1000 * 1000 }; /* nanoseconds */

struct program {
    int timer;
    bool finished;
};

static const char script[] = "local vmctl, finish = ...\n"
                             "vmctl.spawn(function()\n"
                             "  local result = assert(vmctl.host:run { 'sh', '-c', 'sleep 0.35; echo command finished' })\n"
                             "  finish(result.stdout)\n"
                             "end)\n";

/* finish(text): called by the script */
static int l_finish(lua_State *L)
{
    struct program *p = lua_touserdata(L, lua_upvalueindex(1));
    fputs(luaL_checkstring(L, 1), stdout);
    p->finished = true;
    return 0;
}

static void start_script(lua_State *L, struct program *p)
{
    if (luaL_loadstring(L, script))
        lua_error(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "vmctl");
    lua_call(L, 1, 1);
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, l_finish, 1);
    lua_call(L, 2, 0);
}

/* How long poll may wait: until vmctl has something to do by itself (nil: never). */
static int milliseconds(lua_State *L)
{
    lua_getfield(L, 1, "timeout");
    lua_call(L, 0, 1);
    int wait = lua_isnil(L, -1) ? -1 : (int)fmin(ceil(lua_tonumber(L, -1) * 1000), 60000);
    lua_pop(L, 1);
    return wait;
}

/* The program's event loop. Stack: 1 vmctl.loop, 2 its descriptor. The error of a task comes out of step. */
static void turn(lua_State *L, const struct program *p)
{
    struct pollfd fds[] = { { .fd = (int)lua_tointeger(L, 2), .events = POLLIN }, { .fd = p->timer, .events = POLLIN } };
    if (poll(fds, 2, milliseconds(L)) < 0)
        luaL_error(L, "poll failed");
    uint64_t ticks;
    if (fds[1].revents && read(p->timer, &ticks, sizeof ticks) > 0)
        puts("tick of the program");
    lua_getfield(L, 1, "step");
    lua_pushinteger(L, 0); /* seconds: what is there, and no waiting */
    lua_call(L, 1, 0);
}

/* Runs protected: what it raises is main's to report. */
static int run(lua_State *L)
{
    struct program *p = lua_touserdata(L, 1);
    start_script(L, p);
    lua_settop(L, 0);
    luaL_loadstring(L, "return require('vmctl').loop");
    lua_call(L, 0, 1);
    lua_getfield(L, 1, "pollfd");
    lua_call(L, 0, 1);
    while (!p->finished)
        turn(L, p);
    return 0;
}

int main(void)
{
    struct program p = { .timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) };
    struct itimerspec every = { .it_interval.tv_nsec = TICK, .it_value.tv_nsec = TICK };
    lua_State *L = luaL_newstate();
    if (!L || p.timer < 0 || timerfd_settime(p.timer, 0, &every, NULL) < 0)
        return 1;
    luaL_openlibs(L);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, &p);
    int failed = lua_pcall(L, 1, 0, 0);
    if (failed)
        fprintf(stderr, "embed: %s\n", lua_tostring(L, -1));
    lua_close(L); /* vmctl ends what it still has: streams, children, guests */
    close(p.timer);
    return failed ? 1 : 0;
}
