/* The state behind one Lua state: its loop, its tasks, and the task that runs now. */
#ifndef VMCTL_LUA_STATE_H
#define VMCTL_LUA_STATE_H

#include "io/loop.h"
#include "lua/task.h"

#include <lua.h>
#include <stdbool.h>

enum { VMCTL_SPARE_WORKS = 2 };

struct vmctl_lua {
    struct vmctl_loop loop;
    struct vmctl_task root;         /* stands for the plain script */
    struct vmctl_scope *root_scope;
    struct vmctl_task *current;     /* the task that runs now; NULL: none */
    struct vmctl_task *ready, **ready_tail;
    lua_State *main;                /* the main state: lives as long as this */
    lua_State *driver;              /* the Lua thread that drives the loop now, or NULL */
    int table;                      /* the driver's stack index of the table of tasks */
    int living;                     /* highest place ever used in it; its address is the registry key of the table */
    int free_place;                 /* 0: none; else the table has the next one there */
    lua_KFunction root_next;        /* of the plain script: the continuation that parked; root_loop calls it */
    lua_KContext root_ctx;
    void *spare_work[VMCTL_SPARE_WORKS]; /* work.c */
    int spare_works;
    bool traced;                    /* a hook gets the messages of streams: stream_trace.c */
    lua_Hook heard;                 /* a hook of the main state that was called and raised nothing: interrupt.c */
    bool interrupted;               /* a hook raised an error; its address is the registry key of that */
    bool orphans;                   /* a task of the root scope has failed, and no task has joined it */
    bool open;
};

/* The state of this Lua state: made by the first luaopen_vmctl_core, in the registry until the Lua state ends. */
struct vmctl_lua *vmctl_lua_get(lua_State *L);

/* For module.c, which makes it: puts the userdata on top of the stack, which it pops, in the registry. */
void vmctl_lua_set(lua_State *L);

/* True if this Lua state has one already. */
bool vmctl_lua_made(lua_State *L);

#endif
