/* The three standard fds of a child: pipes, a terminal, /dev/null or fds that are there. */
#ifndef VMCTL_LUA_PROCESS_STDIO_H
#define VMCTL_LUA_PROCESS_STDIO_H

#include "io/spawn.h"

#include <lua.h>
#include <stdbool.h>

/* The child's side of its three fds, and ours. */
struct vmctl_stdio {
    int child[3], ours[3];
    bool close_child[3]; /* made here, so closed here once the child has it */
};

/* A pipe for fd `i`, our end non-blocking: 0 or -errno. */
int vmctl_stdio_pipe(struct vmctl_stdio *io, int i);

/* Makes the fds that the fields `stdin`, `stdout` and `stderr` of the table at 1 ask for, or a terminal: 0 or -errno. Also after an
 * error the caller has to drop them. */
int vmctl_stdio_make(lua_State *L, struct vmctl_stdio *io, struct vmctl_spawn *how, bool tty);

/* Closes the child's side where it was made here, and ours if asked to. */
void vmctl_stdio_drop(struct vmctl_stdio *io, bool ours);

#endif
