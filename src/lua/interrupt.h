/* Ctrl-C while the main state sits in the loop.
 *
 * The interpreter `lua` answers SIGINT by setting a hook on its main state, which raises "interrupted!" at the next call or
 * instruction there. While that state waits in C there is none, so the loop makes a call for it, of a function that does
 * nothing, whenever such a hook is set. A program without that handler (an embedding host) sees no difference.
 *
 * The handler leaves nothing but the hook behind, so a signal that arrives between the look at the hook and epoll_wait would be
 * noticed only when the wait ends. Therefore SIGINT is held back for that moment, and let in by the wait itself (epoll_pwait),
 * which it then ends: exact, but two more system calls for each wait. A busy loop has a timer that ends its wait every 20 ms in
 * their place; an idle one is never woken. */
#ifndef VMCTL_LUA_INTERRUPT_H
#define VMCTL_LUA_INTERRUPT_H

#include <lua.h>
#include <stdbool.h>

struct vmctl_lua;

/* From now on the loop looks for a hook before it waits for long; until `unwatch`. */
void vmctl_interrupt_watch(struct vmctl_lua *st);
void vmctl_interrupt_unwatch(struct vmctl_lua *st);

/* True if there is a hook that was not called yet. */
bool vmctl_interrupt_pending(const struct vmctl_lua *st);

/* Lets that hook run. True: it raised an error, which is kept until vmctl_interrupt_raise. */
bool vmctl_interrupt_hear(lua_State *L, struct vmctl_lua *st);

/* Raises the error that was kept, if there is one. */
void vmctl_interrupt_raise(lua_State *L, struct vmctl_lua *st);

#endif
