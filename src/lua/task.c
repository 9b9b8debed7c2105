/* Tasks and scopes: finding the current task, waking, cancelling. Nothing here runs a task. */
#include "lua/task.h"

#include "lua/classes.h"
#include "lua/state.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* The task that waits here: the running one, or the plain script; NULL in a coroutine that is not ours. */
struct vmctl_task *vmctl_task_here(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = st->current ? st->current : &st->root;
    if (t->running == L)
        return t;
    return NULL;
}

struct vmctl_task *vmctl_task_of(struct vmctl_lua *st, lua_State *L)
{
    struct vmctl_task *t = vmctl_task_here(st, L);
    if (!t)
        luaL_error(L, "a wait in a coroutine that vmctl did not make: make it with vmctl.wrap, or run it as a task");
    return t;
}

/* Waking */

void vmctl_task_queue(struct vmctl_task *t)
{
    if (t->queued)
        return;
    struct vmctl_lua *st = t->state;
    t->queued = true;
    t->next_ready = NULL;
    *st->ready_tail = t;
    st->ready_tail = &t->next_ready;
}

void vmctl_task_ready(struct vmctl_task *t, int why)
{
    vmctl_list_remove(&t->waiter.link);
    t->why = why;
    t->status = VMCTL_TASK_READY;
    if (t->co)
        vmctl_task_queue(t);
}

static void on_wake(struct vmctl_waiter *w, int why)
{
    vmctl_task_ready(VMCTL_CONTAINER(w, struct vmctl_task, waiter), why);
}

static void on_deadline(struct vmctl_timer *timer)
{
    struct vmctl_task *t = VMCTL_CONTAINER(timer, struct vmctl_task, timer);
    if (t->status != VMCTL_TASK_PARKED || isinf(t->deadline))
        return;
    if (t->deadline > vmctl_loop_now(&t->state->loop))
        vmctl_timer_set(&t->state->loop, timer, t->deadline);
    else
        vmctl_task_ready(t, -ETIMEDOUT);
}

/* Makes its present wait fail. */
static void task_interrupt(struct vmctl_task *t)
{
    if (t->status == VMCTL_TASK_PARKED && !t->shielded)
        vmctl_task_ready(t, -ECANCELED);
}

/* Scopes. The first error of a scope waits in the registry, under the scope's address. */

struct vmctl_scope *vmctl_scope_new(lua_State *L, struct vmctl_task *owner)
{
    struct vmctl_scope *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct vmctl_scope){ .owner = owner };
    vmctl_list_init(&s->tasks);
    vmctl_waitq_init(&s->idle);
    luaL_setmetatable(L, VMCTL_SCOPE);
    if (owner) {
        s->cancelled = vmctl_task_cancelled(owner);
        s->outer = owner->inner;
        owner->inner = s;
    }
    return s;
}

struct vmctl_scope *vmctl_scope_here(struct vmctl_lua *st)
{
    struct vmctl_task *t = st->current ? st->current : &st->root;
    if (t->inner)
        return t->inner;
    return t->scope ? t->scope : st->root_scope;
}

void vmctl_scope_enter(struct vmctl_scope *scope, struct vmctl_task *t)
{
    t->scope = scope;
    t->cancelled = scope->cancelled;
    scope->live++;
    vmctl_list_append(&scope->tasks, &t->link);
}

static void scope_fail(lua_State *L, struct vmctl_scope *s, struct vmctl_lua *st)
{
    if (s->failed) { /* only the first error counts: others are often its consequences */
        lua_pop(L, 1);
        return;
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    s->failed = true;
    if (s == st->root_scope)
        st->orphans = true;
    else
        vmctl_scope_cancel(s);
}

void vmctl_scope_leave(lua_State *L, struct vmctl_task *t, bool failed)
{
    struct vmctl_scope *s = t->scope;
    vmctl_list_remove(&t->link);
    s->live--;
    if (failed)
        scope_fail(L, s, t->state);
    if (!s->live)
        vmctl_wake_all(&s->idle, 0);
}

/* Raises the error of a task that was spawned outside of any scope, once. */
void vmctl_scope_raise_orphans(lua_State *L, struct vmctl_lua *st)
{
    if (!st->orphans)
        return;
    struct vmctl_scope *s = st->root_scope;
    st->orphans = s->failed = false;
    vmctl_scope_push_error(L, s);
    lua_error(L);
}

void vmctl_scope_push_error(lua_State *L, const struct vmctl_scope *scope)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, scope);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, scope);
}

/* Cancelling */

bool vmctl_task_cancelled(const struct vmctl_task *t)
{
    if (t->cancelled)
        return true;
    for (const struct vmctl_scope *s = t->inner; s; s = s->outer)
        if (s->cancelled)
            return true;
    return false;
}

void vmctl_task_forgive(struct vmctl_task *t)
{
    if (!vmctl_task_cancelled(t) && t->limit > vmctl_loop_now(&t->state->loop))
        t->ignored = 0;
}

void vmctl_task_cancel(struct vmctl_task *t)
{
    if (t->status >= VMCTL_TASK_DONE)
        return;
    t->cancelled = true;
    for (struct vmctl_scope *s = t->inner; s; s = s->outer)
        vmctl_scope_cancel(s);
    task_interrupt(t);
}

void vmctl_scope_cancel_tasks(struct vmctl_scope *s)
{
    if (s->cancelled)
        return;
    s->cancelled = true;
    for (struct vmctl_list *n = s->tasks.next; n != &s->tasks; n = n->next)
        vmctl_task_cancel(VMCTL_CONTAINER(n, struct vmctl_task, link));
}

/* Cancels also the scopes that its owner has opened inside it, and the owner's own wait. */
void vmctl_scope_cancel(struct vmctl_scope *scope)
{
    struct vmctl_task *owner = scope->owner;
    for (struct vmctl_scope *s = owner ? owner->inner : NULL; s && s != scope; s = s->outer)
        vmctl_scope_cancel_tasks(s);
    vmctl_scope_cancel_tasks(scope);
    if (owner)
        task_interrupt(owner);
}

void vmctl_task_init(struct vmctl_task *t, struct vmctl_lua *st)
{
    memset(t, 0, sizeof *t);
    t->state = st;
    t->limit = INFINITY;
    t->budget = VMCTL_TASK_BUDGET;
    t->waiter.wake = on_wake;
    t->timer.expired = on_deadline;
    vmctl_list_init(&t->waiter.link);
    vmctl_list_init(&t->link);
    vmctl_waitq_init(&t->joiners);
}
