/* A host program that forks while a script of vmctl's has everything open. The child ends its copy of the Lua state; what the
 * parent has must go on as if nothing had been. Prints "ok", or what is wrong.
 *   forked FOLDER OWN-FOLDER   (LUA_PATH and LUA_CPATH lead to vmctl) */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t forked;

/* The child's part, at once where the script stands: in a plain script, and in a task. */
static int l_fork(lua_State *L)
{
    forked = fork();
    lua_pushboolean(L, forked == 0);
    return 1;
}

static int l_ended(lua_State *L)
{
    int status = -1;
    waitpid(forked, &status, 0);
    lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    char path[4096];
    snprintf(path, sizeof path, "%s/forked.lua", argv[1]);
    setvbuf(stdout, NULL, _IONBF, 0);
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_register(L, "fork", l_fork);
    lua_register(L, "ended", l_ended);
    int err = luaL_loadfile(L, path);
    lua_pushstring(L, argv[2]);
    if (err == LUA_OK)
        err = lua_pcall(L, 1, 1, 0);
    int in_child = err == LUA_OK && lua_toboolean(L, -1);
    if (err != LUA_OK)
        printf("%s: %s\n", forked == 0 ? "child" : "parent", lua_tostring(L, -1));
    lua_close(L);
    if (err == LUA_OK && !in_child)
        printf("ok\n");
    return err != LUA_OK;
}
