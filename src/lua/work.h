/* Calls that workers make, for the state: see work.c. */
#ifndef VMCTL_LUA_WORK_H
#define VMCTL_LUA_WORK_H

#include "lua/state.h"

/* Frees the states that are kept for further calls. */
void vmctl_work_close(struct vmctl_lua *st);

#endif
