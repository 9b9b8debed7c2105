/* core.work: a call of core.fs, or of one of its objects, that is made by a worker thread while the task waits. Each such call has
 * a small Lua state of its own, in which the same C function runs: its arguments and results are copied, descriptors are
 * duplicated, so that the threads share no object. */
#include "lua/work.h"

#include "io/workers.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/park.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VMCTL_WORK "vmctl.Work"

enum {
    WORK_TIMEOUT = 30,     /* seconds */
    WORK_DEPTH = 6,        /* tables inside tables: lists of records at most */
    WORK_KEPT = 64 * 1024, /* bytes that a state may keep for the next call */
    WORK_NAME = 3,         /* where these stand on the caller's stack, once the wait is set up */
    WORK_FUNCTION = 4
};

struct work {
    struct vmctl_job job;
    struct vmctl_waitq waiters;
    lua_State *M;   /* the worker's state: used by the worker during the call, else by its owner */
    int status;     /* of its pcall */
    int first;      /* the function's index there: 1, or 2 above a copy of the object that the call is for */
    bool submitted;
};

/* Copying. The functions run in a protected call of the state that is copied to; reading the other raises nothing. */

static bool copy_value(lua_State *from, int at, lua_State *to, int depth);

/* Pushes a table, which may be half done if it could not be copied. */
static bool copy_table(lua_State *from, int at, lua_State *to, int depth)
{
    at = lua_absindex(from, at);
    luaL_checkstack(to, 4, "copying");
    lua_newtable(to);
    if (depth > WORK_DEPTH || !lua_checkstack(from, 3))
        return false;
    lua_pushnil(from);
    while (lua_next(from, at)) {
        bool copied = copy_value(from, -2, to, depth);
        copied = copy_value(from, -1, to, depth) && copied;
        if (!copied) {
            lua_pop(from, 2);
            lua_pop(to, 2);
            return false;
        }
        lua_rawset(to, -3);
        lua_pop(from, 1);
    }
    return true;
}

/* Always pushes one value. Objects have their place in front of the arguments, and as results. */
static bool copy_value(lua_State *from, int at, lua_State *to, int depth)
{
    size_t len;
    const char *text;
    switch (lua_type(from, at)) {
    case LUA_TNIL: lua_pushnil(to); return true;
    case LUA_TBOOLEAN: lua_pushboolean(to, lua_toboolean(from, at)); return true;
    case LUA_TNUMBER:
        if (lua_isinteger(from, at))
            lua_pushinteger(to, lua_tointeger(from, at));
        else
            lua_pushnumber(to, lua_tonumber(from, at));
        return true;
    case LUA_TSTRING:
        text = lua_tolstring(from, at, &len);
        lua_pushlstring(to, text, len);
        return true;
    case LUA_TTABLE: return copy_table(from, at, to, depth + 1);
    default: lua_pushnil(to); return false;
    }
}

/* A worker's state */

static const char names_key;

/* Adds the functions of the table on top of the stack, as keys, with their names: a worker may call them. `watch` uses the loop. */
static void names_add(lua_State *M, int names)
{
    for (lua_pushnil(M); lua_next(M, -2); lua_pop(M, 1)) {
        if (!lua_iscfunction(M, -1) || strcmp(lua_tostring(M, -2), "watch") == 0)
            continue;
        lua_pushvalue(M, -1);
        lua_pushvalue(M, -3);
        lua_rawset(M, names);
    }
}

static int state_open(lua_State *M)
{
    static const char *const classes[] = { VMCTL_ROOT, VMCTL_FILE };
    lua_newtable(M);
    int names = lua_gettop(M);
    lua_newtable(M);
    vmctl_fs_register(M);
    lua_getfield(M, -1, "fs");
    names_add(M, names);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        luaL_getmetatable(M, classes[i]);
        lua_getfield(M, -1, "__index");
        names_add(M, names);
    }
    lua_settop(M, names);
    lua_rawsetp(M, LUA_REGISTRYINDEX, &names_key);
    return 0;
}

static void work_free(struct vmctl_job *job)
{
    struct work *w = VMCTL_CONTAINER(job, struct work, job);
    if (w->M)
        lua_close(w->M); /* closes files that the call opened for a task that has gone */
    free(w);
}

static void on_run(struct vmctl_job *job)
{
    struct work *w = VMCTL_CONTAINER(job, struct work, job);
    w->status = lua_pcall(w->M, lua_gettop(w->M) - w->first, LUA_MULTRET, 0);
    if (w->first > 1)
        vmctl_fs_release(w->M, 1);
}

static void on_done(struct vmctl_job *job)
{
    vmctl_wake_all(&VMCTL_CONTAINER(job, struct work, job)->waiters, 0);
}

static struct work *work_new(void)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->job.run = on_run;
    w->job.done = on_done;
    w->job.free = work_free;
    vmctl_list_init(&w->job.link);
    vmctl_waitq_init(&w->waiters);
    w->M = luaL_newstate();
    if (!w->M) {
        free(w);
        return NULL;
    }
    lua_pushcfunction(w->M, state_open);
    if (lua_pcall(w->M, 0, 0, 0) == LUA_OK)
        return w;
    work_free(&w->job);
    // cppcheck-suppress memleak ; work_free has it by its job
    return NULL;
}

/* A few unused ones are kept for later calls, in the state's list. */

static struct work *work_take(struct vmctl_lua *st)
{
    if (st->spare_works == 0)
        return work_new();
    return st->spare_work[--st->spare_works];
}

static void work_return(struct vmctl_lua *st, struct work *w)
{
    lua_settop(w->M, 0);
    if (lua_gc(w->M, LUA_GCCOUNT) * 1024 + lua_gc(w->M, LUA_GCCOUNTB) > WORK_KEPT)
        lua_gc(w->M, LUA_GCCOLLECT);
    vmctl_list_init(&w->job.link);
    w->submitted = false;
    if (st->spare_works < VMCTL_SPARE_WORKS)
        st->spare_work[st->spare_works++] = w;
    else
        work_free(&w->job);
}

void vmctl_work_close(struct vmctl_lua *st)
{
    while (st->spare_works > 0)
        work_free(&((struct work *)st->spare_work[--st->spare_works])->job);
}

/* The caller's side: a userdata that releases its call when the wait ends. */

struct lua_work {
    struct work *w; /* NULL: it was released */
};

static int l_work_gc(lua_State *L)
{
    struct lua_work *lw = luaL_checkudata(L, 1, VMCTL_WORK);
    struct work *w = lw->w;
    lw->w = NULL;
    if (w)
        vmctl_wake_all(&w->waiters, VMCTL_ECLOSED); /* a closing state ends its calls before its tasks */
    if (w && w->submitted)
        vmctl_workers_leave(&w->job);
    else if (w)
        work_free(&w->job);
    return 0;
}

struct copy_call {
    lua_State *L;
    int last, first; /* of L's stack; of the worker's: see struct work */
    bool bad;
    int err;
};

/* Copies the object in front of the arguments. The method `close` gets the caller's own descriptor. */
static void copy_object(lua_State *M, struct copy_call *c)
{
    const int at = WORK_FUNCTION + 1;
    bool move = strcmp(lua_tostring(c->L, WORK_NAME), "close") == 0;
    c->err = vmctl_fs_copy(c->L, at, M, move);
    c->bad = c->err == -EINVAL;
    c->first = 2;
}

/* Pushes the function and arguments that on_run calls, in the worker's state. */
static int copy_call(lua_State *M)
{
    struct copy_call *c = lua_touserdata(M, 1);
    lua_CFunction f = lua_tocfunction(c->L, WORK_FUNCTION);
    luaL_checkstack(M, c->last + LUA_MINSTACK, "copying");
    lua_settop(M, 0);
    lua_rawgetp(M, LUA_REGISTRYINDEX, &names_key);
    lua_pushcfunction(M, f ? f : copy_call);
    c->bad = lua_rawget(M, -2) != LUA_TSTRING;
    lua_settop(M, 0);
    bool object = lua_type(c->L, WORK_FUNCTION + 1) == LUA_TUSERDATA;
    if (object && !c->bad)
        copy_object(M, c);
    if (c->bad || c->err)
        return 0;
    lua_pushcfunction(M, f);
    if (object)
        lua_pushvalue(M, 1);
    for (int i = WORK_FUNCTION + 1 + object; i <= c->last; i++)
        c->bad = !copy_value(c->L, i, M, 0) || c->bad;
    return lua_gettop(M);
}

static int work_prepare(lua_State *L, struct work *w)
{
    struct copy_call c = { .L = L, .last = lua_gettop(L), .first = 1 };
    luaL_checkstack(L, LUA_MINSTACK, "a call of a worker");
    lua_settop(w->M, 0);
    lua_pushcfunction(w->M, copy_call);
    lua_pushlightuserdata(w->M, &c);
    if (lua_pcall(w->M, 1, LUA_MULTRET, 0) != LUA_OK)
        luaL_error(L, "a call of a worker: %s", lua_tostring(w->M, -1));
    if (c.bad)
        luaL_error(L, "a function of core.fs or of its objects expected, with arguments that can be copied");
    w->first = c.first;
    return c.err;
}

/* "stat /mnt/x", for messages. */
static const char *work_title(lua_State *L)
{
    const char *what = vmctl_fs_name(L, WORK_FUNCTION + 1);
    for (int i = WORK_FUNCTION + 1; i <= lua_gettop(L) && !what; i++)
        if (lua_type(L, i) == LUA_TSTRING)
            what = lua_tostring(L, i);
    return lua_pushfstring(L, "%s %s", lua_tostring(L, WORK_NAME), what ? what : "");
}

static void copy_result(lua_State *from, int at, lua_State *L)
{
    if (lua_type(from, at) != LUA_TUSERDATA)
        copy_value(from, at, L, 0);
    else if (vmctl_fs_copy(from, at, L, true) == -EINVAL)
        lua_pushnil(L);
}

static int work_results(lua_State *L, struct vmctl_lua *st, struct lua_work *lw)
{
    struct work *w = lw->w;
    if (w->status != LUA_OK)
        return luaL_error(L, "%s", lua_tostring(w->M, -1));
    int last = lua_gettop(w->M);
    luaL_checkstack(L, last + LUA_MINSTACK, "results of a worker");
    for (int i = w->first; i <= last; i++)
        copy_result(w->M, i, L);
    int n = last - w->first + 1;
    lw->w = NULL;
    vmctl_workers_take_back(&w->job);
    work_return(st, w);
    return n;
}

/* Stack: 1 lua_work, 2 deadline, 3 name, 4 function, and its arguments. */
static int work_over(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct vmctl_lua *st = vmctl_lua_get(L);
    struct lua_work *lw = luaL_checkudata(L, 1, VMCTL_WORK);
    int why = vmctl_why(st, L);
    if (!why)
        return work_results(L, st, lw);
    bool began = vmctl_workers_began(&lw->w->job);
    const char *title = work_title(L);
    l_work_gc(L);
    if (why == -ETIMEDOUT && !began)
        return vmctl_fail_text(L, why, "%s: timed out: no worker was free, %d calls have not come back", title, VMCTL_WORKERS);
    return vmctl_fail(L, why, "%s", title);
}

/* Passes the call to a worker, or returns an error. */
static int work_start(lua_State *L, struct vmctl_lua *st)
{
    luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    struct lua_work *lw = lua_newuserdatauv(L, sizeof *lw, 0);
    lw->w = NULL;
    luaL_setmetatable(L, VMCTL_WORK);
    lua_insert(L, 1);
    lw->w = work_take(st);
    if (!lw->w)
        return -ENOMEM;
    int err = work_prepare(L, lw->w);
    if (!err)
        err = vmctl_workers_submit(&st->loop, &lw->w->job);
    lw->w->submitted = !err;
    return err;
}

static int work_refused(lua_State *L, int err)
{
    const char *title = work_title(L);
    l_work_gc(L);
    if (err == -EBUSY)
        return vmctl_fail_text(L, err, "%s: too many calls wait for a worker (%d)", title, VMCTL_WORKERS_QUEUE);
    return vmctl_fail(L, err, "%s", title);
}

/* core.work(timeout, name, function, ...) -> the function's results; 30 s by default. Waits. When the wait ends before the call, the
 * call goes on, and its results are dropped. */
static int l_work(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    luaL_checkany(L, 3);
    vmctl_set_deadline(st, L, 1, WORK_TIMEOUT);
    int err = work_start(L, st);
    if (err)
        return work_refused(L, err);
    struct lua_work *lw = lua_touserdata(L, 1);
    return vmctl_park(st, L, &lw->w->waiters, 2, LUA_OK, 0, work_over);
}

/* core.work_later(name, function, ...) -> true: no task waits for it, and its result is dropped. For work at the end of an object. */
static int l_work_later(lua_State *L)
{
    struct vmctl_lua *st = vmctl_lua_get(L);
    lua_pushnil(L);
    lua_insert(L, 1);
    int err = work_start(L, st);
    if (err)
        return work_refused(L, err);
    l_work_gc(L);
    lua_pushboolean(L, 1);
    return 1;
}

void vmctl_work_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_work_gc }, { NULL, NULL } };
    static const luaL_Reg functions[] = { { "work", l_work }, { "work_later", l_work_later }, { NULL, NULL } };
    vmctl_class(L, VMCTL_WORK, none, meta);
    luaL_setfuncs(L, functions, 0);
}
