/* What the files of this room share: the state behind one Lua state, tasks, errors, deadlines. */
#ifndef VMCTL_LUA_STATE_H
#define VMCTL_LUA_STATE_H

#include "io/loop.h"
#include "io/wait.h"
#include "wire/error.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#define VMCTL_STATE "vmctl.State"
#define VMCTL_TASK "vmctl.Task"
#define VMCTL_SCOPE "vmctl.Scope"
#define VMCTL_STREAM "vmctl.Stream"
#define VMCTL_FORMAT "vmctl.Format"
#define VMCTL_LISTENER "vmctl.Listener"
#define VMCTL_PROCESS "vmctl.Process"
#define VMCTL_QUEUE "vmctl.Queue"
#define VMCTL_CALLS "vmctl.Calls"
#define VMCTL_REQUESTS "vmctl.Requests"
#define VMCTL_RELAY "vmctl.Relay"

enum vmctl_task_status { VMCTL_TASK_READY, VMCTL_TASK_RUNNING, VMCTL_TASK_PARKED, VMCTL_TASK_DONE, VMCTL_TASK_FAILED };

struct vmctl_scope;

struct vmctl_task {
    struct vmctl_waiter waiter;     /* parked in what it waits for */
    struct vmctl_list link;         /* among its scope's tasks */
    struct vmctl_task *next_ready;
    struct vmctl_timer timer;       /* may be set earlier than `deadline`: then it is set anew when it fires */
    struct vmctl_lua *state;
    lua_State *co;                  /* its coroutine; NULL for the root (the plain script) */
    lua_State *running;             /* co, or the coroutine of a vmctl.wrap inside it: where a wait may be made */
    struct vmctl_scope *scope;      /* the one that it belongs to */
    struct vmctl_scope *inner;      /* the innermost one that it has opened */
    struct vmctl_waitq joiners;
    double deadline;                /* of the present wait */
    double limit;                   /* no wait of this task lasts longer: vmctl.timeout */
    int why;                        /* how the last wait ended: 0 or an error */
    int nargs;                      /* for the first resume; afterwards the number of results */
    lua_Integer anchor;             /* its place in the state's table of living tasks */
    unsigned char status;           /* enum vmctl_task_status */
    bool queued;                    /* in the ready queue */
    bool cancelled, shielded;       /* shielded: the present wait can not be cancelled */
    bool pinned;                    /* a call that can not yield lies between `co` and `running` */
    unsigned char ignored;          /* waits refused one after the other because it is cancelled */
    unsigned char budget;           /* waits that it may still end without going through the loop */
};

struct vmctl_scope {
    struct vmctl_list tasks;        /* living ones */
    struct vmctl_waitq idle;        /* its owner, waiting for them to end */
    struct vmctl_task *owner;       /* NULL once it is closed */
    struct vmctl_scope *outer;      /* the next one that its owner has open */
    size_t live;
    bool cancelled, failed;         /* failed: user value 1 holds the first error */
};

struct vmctl_lua {
    struct vmctl_loop loop;
    struct vmctl_task root;         /* stands for the plain script */
    struct vmctl_scope *root_scope;
    struct vmctl_task *current;     /* the task that runs now; NULL: none */
    struct vmctl_task *ready, **ready_tail;
    lua_State *driver;              /* who drives the loop now; NULL: nobody */
    int tables;                     /* the driver's stack index of the two tables below */
    lua_Integer living;             /* highest place ever used; its address is the registry key of the table of tasks */
    lua_Integer free_places;        /* how many; its address is the registry key of their list */
    lua_KFunction root_next;        /* of the plain script: the continuation that parked; root_loop calls it */
    lua_KContext root_ctx;
    bool traced;                    /* a hook wants to see what streams carry: stream_trace.c */
    bool orphans;                   /* a task of the root scope failed and nobody was there to hear */
    bool open;
};

/* The state of this Lua state: made by the first luaopen_vmctl_core, in the registry until the Lua state ends. */
struct vmctl_lua *vmctl_lua_get(lua_State *L);

/* Failing: pushes nil, "what: text", "CODE" and returns 3. `err` is negative. */
int vmctl_fail(lua_State *L, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with a text of its own instead of the error's. */
int vmctl_fail_text(lua_State *L, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The absolute time of a time-out given at stack slot `arg`: a number, or a table with `timeout`; nil: `otherwise`
 * seconds. A number that is no time-out raises. Bounded by the task's limit. */
double vmctl_deadline(struct vmctl_lua *st, lua_State *L, int arg, double otherwise);

/* Waiting. The function that parks is its own continuation `k`: it is called again, in the same stack, when the wait is
 * over, and asks vmctl_why. Rules for a function that parks:
 *  - It returns at once what vmctl_park returns: `return vmctl_park(…)`. In a task that is a yield. In a plain script the first
 *    call drives the loop and calls k until k returns without parking; a k that parks again returns to that loop.
 *  - `status` is the one that it was called with: LUA_OK at the first call, LUA_YIELD as a continuation.
 *  - What survives the wait is in stack slots (lua_settop first), in the object, or in ctx; never in a C local.
 *  - Slot `at` has the absolute deadline: vmctl_set_deadline at the first call.
 *  - A slot holds the object that owns the queue, so that it is not collected during the wait.
 *  - After waking it looks first whether the object was closed, then at vmctl_why.
 *  - It consumes input before it pushes: a push may run a finalizer.
 *  - It parks before it has side effects that a refusal would leave behind: vmctl_park raises in a coroutine of others.
 * A cancelled task is not parked: k is called with ECANCELED. */
int vmctl_park(struct vmctl_lua *st, lua_State *L, struct vmctl_waitq *q, int at, int status, lua_KContext ctx, lua_KFunction k);

/* As vmctl_park, but neither time nor cancelling ends it. */
int vmctl_park_shielded(struct vmctl_lua *st, lua_State *L, struct vmctl_waitq *q, int status, lua_KContext ctx, lua_KFunction k);

/* How the wait ended: 0, -ETIMEDOUT, -ECANCELED, or what the waker said. */
int vmctl_why(struct vmctl_lua *st, lua_State *L);

/* Must the caller let others run, although it has no need to wait? Then `return vmctl_pause(L, …)`: k is called after the
 * others' turn. Not when the task is cancelled or over its limit by then: the pause returns that failure itself. */
bool vmctl_must_pause(struct vmctl_lua *st, lua_State *L);
int vmctl_pause(struct vmctl_lua *st, lua_State *L, lua_KContext ctx, lua_KFunction k);

/* The same for a waiting function that has not begun: after the pause it is called as at the first time (LUA_OK, 0), so
 * that it still finds its time-out argument as it was given. */
int vmctl_pause_before(struct vmctl_lua *st, lua_State *L, lua_KFunction first);

/* Puts the deadline of the time-out argument in slot `at` in its place. For the first call of a waiting function. */
void vmctl_set_deadline(struct vmctl_lua *st, lua_State *L, int at, double otherwise);

/* task.c, for the room */
void vmctl_task_init(struct vmctl_task *t, struct vmctl_lua *st);
void vmctl_task_launch(lua_State *L, int task_at, int nargs); /* its function and arguments are on top of L, and are taken */
struct vmctl_task *vmctl_task_here(struct vmctl_lua *st, lua_State *L); /* NULL in a coroutine that is not ours */
struct vmctl_task *vmctl_task_of(struct vmctl_lua *st, lua_State *L);   /* there it raises */
void vmctl_task_ready(struct vmctl_task *t, int why);
void vmctl_task_cancel(struct vmctl_task *t);    /* every wait of it from now on fails */
void vmctl_task_interrupt(struct vmctl_task *t); /* the present one fails */
bool vmctl_drive(lua_State *L, struct vmctl_lua *st, double until, bool (*done)(struct vmctl_lua *), bool once);

/* Ends the generators that a coroutine waits in, the innermost first, so that their <close> variables run. */
void vmctl_wrap_close(lua_State *co);

/* task_scope.c */
struct vmctl_scope *vmctl_scope_new(lua_State *L, struct vmctl_task *owner); /* leaves its userdata on the stack */
struct vmctl_scope *vmctl_scope_check(lua_State *L, int arg);
struct vmctl_scope *vmctl_scope_here(struct vmctl_lua *st); /* where a task that is spawned here belongs */
void vmctl_scope_enter(struct vmctl_scope *scope, struct vmctl_task *t);
void vmctl_scope_leave(lua_State *L, struct vmctl_task *t, bool failed); /* failed: takes the error off L */
bool vmctl_scope_cancelled(const struct vmctl_task *t);
void vmctl_scope_cancel(struct vmctl_scope *scope);
void vmctl_scope_raise_orphans(lua_State *L, struct vmctl_lua *st);

/* Classes: each adds its metatable, and its functions to the module table on top of the stack. */
void vmctl_task_register(lua_State *L);
void vmctl_wrap_register(lua_State *L);
void vmctl_scope_register(lua_State *L);
void vmctl_loop_register(lua_State *L);
void vmctl_stream_register(lua_State *L);
void vmctl_listener_register(lua_State *L);
void vmctl_connect_register(lua_State *L);
void vmctl_process_register(lua_State *L);
void vmctl_queue_register(lua_State *L);
void vmctl_calls_register(lua_State *L);
void vmctl_requests_register(lua_State *L);
void vmctl_trace_register(lua_State *L);
void vmctl_journal_register(lua_State *L);
void vmctl_relay_register(lua_State *L);
void vmctl_codec_register(lua_State *L);
void vmctl_terminal_register(lua_State *L);
void vmctl_hash_register(lua_State *L);
void vmctl_fs_register(lua_State *L);
void vmctl_switch_register(lua_State *L);

/* Makes a metatable: methods under __index, metamethods beside them. */
void vmctl_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

#endif
