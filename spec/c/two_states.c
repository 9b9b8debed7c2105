/* A host program with two threads, each with a Lua state of its own that runs vmctl's tasks; then a state that is closed
 * while its tasks wait. What belongs to the process must be afterwards as it was before. Prints "ok", or what is wrong.
 *   two_states FOLDER ROUNDS   (LUA_PATH and LUA_CPATH lead to vmctl) */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SIGNALS = 65, VARIABLES = 256 };

static int failures;

static void check(int ok, const char *what)
{
    if (ok)
        return;
    printf("%s\n", what);
    failures++;
}

/* Process state that a module must not change. */
struct host {
    struct sigaction actions[SIGNALS];
    sigset_t mask;
    mode_t mask_of_files;
    char folder[4096];
    char **environ;
    char *variables[VARIABLES];
    int flags[3];
    int fds;
};

static int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void look(struct host *h)
{
    memset(h, 0, sizeof *h);
    for (int i = 1; i < SIGNALS; i++)
        sigaction(i, NULL, &h->actions[i]); /* refused for libc's own two: they stay zero */
    pthread_sigmask(SIG_SETMASK, NULL, &h->mask);
    h->mask_of_files = umask(0);
    umask(h->mask_of_files);
    if (!getcwd(h->folder, sizeof h->folder))
        h->folder[0] = 0;
    h->environ = environ;
    for (int i = 0; i < VARIABLES && environ[i]; i++)
        h->variables[i] = environ[i];
    for (int i = 0; i < 3; i++)
        h->flags[i] = fcntl(i, F_GETFL);
    h->fds = count_fds();
}

static int same_mask(const sigset_t *a, const sigset_t *b)
{
    for (int i = 1; i < SIGNALS; i++)
        if (sigismember(a, i) != sigismember(b, i))
            return 0;
    return 1;
}

static void compare(const struct host *before)
{
    struct host now;
    look(&now);
    for (int i = 1; i < SIGNALS; i++)
        check(before->actions[i].sa_handler == now.actions[i].sa_handler &&
                  before->actions[i].sa_flags == now.actions[i].sa_flags,
              "a signal's action has changed");
    check(same_mask(&before->mask, &now.mask), "the signal mask has changed");
    check(before->mask_of_files == now.mask_of_files, "the umask has changed");
    check(strcmp(before->folder, now.folder) == 0, "the working directory has changed");
    check(before->environ == now.environ, "environ has moved");
    check(memcmp(before->variables, now.variables, sizeof now.variables) == 0, "the environment has changed");
    check(memcmp(before->flags, now.flags, sizeof now.flags) == 0, "the flags of 0, 1 or 2 have changed");
    check(before->fds == now.fds, "an fd was left open");
    check(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child was left");
}

static const char *folder;
static int rounds;

static int run(lua_State *L, const char *file, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int err = luaL_loadfile(L, path);
    lua_pushstring(L, name);
    lua_pushinteger(L, rounds);
    if (err == LUA_OK)
        err = lua_pcall(L, 2, 1, 0);
    if (err != LUA_OK)
        fprintf(stderr, "%s: %s\n", name, lua_tostring(L, -1));
    return err == LUA_OK;
}

static void *thread(void *name)
{
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    int ok = run(L, "two_states.lua", name);
    lua_close(L);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    return ok && same_mask(&before, &after) ? name : NULL;
}

static void test_two_threads(void)
{
    pthread_t threads[2];
    char *names[2] = { "one", "two" };
    for (int i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, thread, names[i]) == 0, "no thread");
    for (int i = 0; i < 2; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        check(result != NULL, "a thread has failed");
    }
}

static int closed;

static int l_closed(lua_State *L)
{
    (void)L;
    closed++;
    return 0;
}

static void test_close_while_parked(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_register(L, "closed", l_closed);
    check(run(L, "parked.lua", "parked"), "parked.lua has failed");
    int parked = (int)lua_tointeger(L, -1);
    lua_close(L);
    check(parked > 0 && closed == parked, "not every <close> variable was closed");
}

static void on_sigpipe(int number)
{
    (void)number;
    check(0, "SIGPIPE reached the host");
}

int main(int argc, char **argv)
{
    struct host before;
    if (argc != 3)
        return 2;
    folder = argv[1];
    rounds = atoi(argv[2]);
    umask(027);
    signal(SIGPIPE, on_sigpipe);
    signal(SIGCHLD, SIG_DFL);
    setvbuf(stdout, NULL, _IONBF, 0);
    look(&before);
    test_two_threads();
    compare(&before);
    test_close_while_parked();
    compare(&before);
    if (!failures)
        printf("ok\n");
    return failures ? 1 : 0;
}
