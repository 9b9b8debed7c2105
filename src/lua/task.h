/* Tasks and scopes: their structs, waking, cancelling, and running them. */
#ifndef VMCTL_LUA_TASK_H
#define VMCTL_LUA_TASK_H

#include "io/loop.h"
#include "io/wait.h"

#include <lua.h>
#include <stdbool.h>

struct vmctl_lua;
struct vmctl_scope;

enum vmctl_task_status { VMCTL_TASK_READY, VMCTL_TASK_RUNNING, VMCTL_TASK_PARKED, VMCTL_TASK_DONE, VMCTL_TASK_FAILED };

struct vmctl_task {
    struct vmctl_waiter waiter;     /* parked in the queue that it waits in */
    struct vmctl_list link;         /* among its scope's tasks */
    struct vmctl_task *next_ready;
    struct vmctl_timer timer;       /* may be set earlier than `deadline`: then it is set anew when it fires */
    struct vmctl_lua *state;
    lua_State *co;                  /* its coroutine; NULL for the root (the plain script), before the task begins, and mostly after its end */
    lua_State *running;             /* co, or the coroutine of a vmctl.wrap inside it: where a wait may be made */
    struct vmctl_scope *scope;      /* the one that it belongs to */
    struct vmctl_scope *inner;      /* the innermost one that it has opened */
    struct vmctl_waitq joiners;
    double deadline;                /* of the present wait */
    double limit;                   /* no wait of this task lasts longer: vmctl.timeout */
    int why;                        /* how the last wait ended: 0 or an error */
    int nargs;                      /* for the first resume; afterwards the number of results */
    int anchor;                     /* its place in the state's table of living tasks */
    unsigned char status;           /* enum vmctl_task_status */
    bool queued : 1;                /* in the ready queue */
    bool cancelled : 1, shielded : 1; /* shielded: the present wait can not be cancelled */
    bool pinned : 1;                /* a call that can not yield lies between `co` and `running` */
    unsigned char ignored;          /* waits refused one after the other: it is cancelled, or over its limit */
    unsigned char budget;           /* waits that it may still end without going through the loop */
};

struct vmctl_scope {
    struct vmctl_list tasks;        /* living ones */
    struct vmctl_waitq idle;        /* its owner, waiting for them to end */
    struct vmctl_task *owner;       /* NULL once it is closed */
    struct vmctl_scope *outer;      /* the next one that its owner has open */
    size_t live;
    bool cancelled, failed;         /* failed: the registry holds the first error */
};

enum { VMCTL_TASK_BUDGET = 200 /* waits that end at once before a task must let others run */ };

/* task.c */
void vmctl_task_init(struct vmctl_task *t, struct vmctl_lua *st);
struct vmctl_task *vmctl_task_here(struct vmctl_lua *st, lua_State *L); /* NULL in a coroutine that is not ours */
struct vmctl_task *vmctl_task_of(struct vmctl_lua *st, lua_State *L);   /* there it raises */
void vmctl_task_queue(struct vmctl_task *t);     /* to be resumed in the next round */
void vmctl_task_ready(struct vmctl_task *t, int why);
void vmctl_task_forgive(struct vmctl_task *t);   /* a limit or a scope has ended: refusals are counted anew */
void vmctl_task_cancel(struct vmctl_task *t);    /* every wait of it from now on fails */
bool vmctl_task_cancelled(const struct vmctl_task *t); /* or a scope that it has open is */

struct vmctl_scope *vmctl_scope_new(lua_State *L, struct vmctl_task *owner); /* leaves its userdata on the stack */
struct vmctl_scope *vmctl_scope_here(struct vmctl_lua *st); /* where a task that is spawned here belongs */
void vmctl_scope_enter(struct vmctl_scope *scope, struct vmctl_task *t);
void vmctl_scope_leave(lua_State *L, struct vmctl_task *t, bool failed); /* failed: takes the error off L */
void vmctl_scope_cancel(struct vmctl_scope *scope);
void vmctl_scope_cancel_tasks(struct vmctl_scope *scope); /* not what its owner waits for */
void vmctl_scope_push_error(lua_State *L, const struct vmctl_scope *scope); /* the first one, which it then forgets */
void vmctl_scope_raise_orphans(lua_State *L, struct vmctl_lua *st);

/* task_run.c */
enum { VMCTL_TASK_VALUE = 1 }; /* user value of a task: its coroutine; before that is made its function, and in the end the one result */
void vmctl_task_launch(lua_State *L, int task_at, int nargs); /* its function and arguments are on top of L, and are taken */
void vmctl_task_end_all(lua_State *L, struct vmctl_lua *st);
bool vmctl_drive(lua_State *L, struct vmctl_lua *st, double until, bool (*done)(struct vmctl_lua *), bool once);

/* task_wrap.c. Ends the generators that a coroutine waits in, the innermost first, so that their <close> variables run. */
void vmctl_wrap_close(lua_State *co);

/* task_scope.c */
struct vmctl_scope *vmctl_scope_check(lua_State *L, int arg);

#endif
