/* vmctl-agent: a static program with Lua, the core, lua-cjson and lua/vmctl inside. */
#include "agent/embedded.h"
#include "agent/init.h"
#include "agent/pack.h"
#include "agent/stage1.h"
#include "agent/unpack.h"
#include "io/standard_fds.h"

#include <lauxlib.h>
#include <lualib.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 65536 }; /* descriptors, at most: tables of that size are still cheap */

int luaopen_vmctl_core(lua_State *L);
#ifdef VMCTL_PB_STATIC
int luaopen_vmctl_pb(lua_State *L);
#endif
int luaopen_cjson(lua_State *L);

/* package.searchers: (name) -> loader, of a module that was built in. */
static int l_embedded(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    for (const struct vmctl_embedded *m = vmctl_embedded; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            if (luaL_loadbuffer(L, m->bytes, m->size, m->chunk) != LUA_OK)
                return lua_error(L);
            return 1;
        }
    }
    lua_pushfstring(L, "no module '%s' built in", name);
    return 1;
}

static int l_power(lua_State *L)
{
    vmctl_init_power(luaL_checkstring(L, 1)[0]);
    return 0;
}

/* Returns freed memory between used pieces to the system: after many connections at once that is most of it. */
static int l_trim(lua_State *L)
{
    (void)L;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return 0;
}

/* () -> an fd that becomes readable when a signal asks the agent to end. Children get a signal mask of their own at their start. */
static int l_signals(lua_State *L)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    int fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return luaL_error(L, "no signalfd");
    lua_pushinteger(L, fd);
    return 1;
}

/* Large blocks are mapped one by one, so that they go back to the system when they are freed: left to itself, malloc
 * would keep as much as was ever in use. The heap is not shortened after each collection, only to grow again page by page:
 * an agent without connections gives back all of it (trim). */
static void tune_memory(void)
{
#ifdef __GLIBC__ /* musl does so anyway */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
#endif
}

/* A forwarded connection takes seven descriptors, and the kernel gives PID 1 a limit of 1024. */
static void raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    rlim_t most = files.rlim_max == RLIM_INFINITY || files.rlim_max > FILES ? files.rlim_max : FILES;
    if (most > files.rlim_max && setrlimit(RLIMIT_NOFILE, &(struct rlimit){ FILES, most }) == 0)
        return;
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    (void)setrlimit(RLIMIT_NOFILE, &files); /* without the right to do so the old limit stays */
}

static void prepare(lua_State *L)
{
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_createtable(L, 1, 0); /* only built-in modules: a guest's own Lua files are not looked at */
    lua_pushcfunction(L, l_embedded);
    lua_rawseti(L, -2, 2);
    lua_getfield(L, -2, "searchers");
    lua_rawgeti(L, -1, 1); /* package.preload */
    lua_rawseti(L, -3, 1);
    lua_pop(L, 1);
    lua_setfield(L, -2, "searchers");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_vmctl_core);
    lua_setfield(L, -2, "vmctl.core");
#ifdef VMCTL_PB_STATIC
    lua_pushcfunction(L, luaopen_vmctl_pb);
    lua_setfield(L, -2, "vmctl.pb");
#endif
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "cjson");
    lua_pop(L, 2);
}

static int traceback(lua_State *L)
{
    const char *text = luaL_tolstring(L, 1, NULL);
    if (!strstr(text, "\nstack traceback:"))
        luaL_traceback(L, L, text, 1);
    return 1;
}

static int run(int argc, char **argv, int first)
{
    if (vmctl_standard_fds_open() != 0)
        return 1;
    tune_memory();
    raise_files();
    lua_State *L = luaL_newstate();
    if (!L)
        return 1;
    lua_gc(L, LUA_GCGEN, 0, 0);
    prepare(L);
    lua_pushcfunction(L, traceback);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "vmctl.agent.main");
    int status = lua_pcall(L, 1, 1, 1);
    if (status == LUA_OK) {
        lua_createtable(L, argc, 3);
        for (int i = 1; i < argc; i++) {
            lua_pushstring(L, argv[i]);
            lua_rawseti(L, -2, i);
        }
        lua_pushboolean(L, first);
        lua_setfield(L, -2, "init");
        lua_pushcfunction(L, l_power);
        lua_setfield(L, -2, "power");
        lua_pushcfunction(L, l_signals);
        lua_setfield(L, -2, "signals");
        lua_pushcfunction(L, l_trim);
        lua_setfield(L, -2, "trim");
        status = lua_pcall(L, 1, 1, 1);
    }
    if (status != LUA_OK)
        fprintf(stderr, "vmctl-agent: %s\n", lua_tostring(L, -1));
    int code = status == LUA_OK ? (int)lua_tointeger(L, -1) : 1;
    lua_close(L);
    return code;
}

/* Beside a guest's own init without units: starts an agent, and another one whenever it ends. */
static int keep_agent(char **argv)
{
    const struct timespec pause = { .tv_nsec = 200 * 1000 * 1000 };
    for (;;) {
        int agent = fork();
        if (agent == 0)
            return run(1, argv, 0);
        if (agent > 0)
            (void)waitpid(agent, NULL, 0);
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv)
{
    struct vmctl_stage1 stage1;
    if (getpid() != 1 && argc == 2 && strcmp(argv[1], "--place") == 0)
        return vmctl_stage1_place();
    if (getpid() != 1 && argc > 1 && strcmp(argv[1], "--pack") == 0)
        return vmctl_pack(argc - 2, argv + 2);
    if (getpid() != 1 && argc > 1 && strcmp(argv[1], "--unpack") == 0)
        return vmctl_unpack(argc - 2, argv + 2);
    if (getpid() != 1)
        return run(argc, argv, 0);
    vmctl_init_begin();
    if (vmctl_stage1_wanted(&stage1) && vmctl_stage1_run(&stage1) == STAGE1_KEEPER)
        return keep_agent(argv);
    vmctl_init_setup();
    int agent = fork();
    if (agent != 0)
        vmctl_init_stay(agent);
    return run(1, argv, 1); /* the kernel's command line is not ours */
}
