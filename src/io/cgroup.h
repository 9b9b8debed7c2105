/* Cgroups (version 2) for commands, one each, where this process may make them: processes that have left a command's process group can
 * be killed all the same. They are below this process's own cgroup, in vmctl-PID. */
#ifndef VMCTL_IO_CGROUP_H
#define VMCTL_IO_CGROUP_H

#include "io/loop.h"

enum { VMCTL_CGROUPS = 1024 }; /* of a loop, those with left processes included */

struct vmctl_cgroup;

/* An empty one; NULL: there is none to be had. */
struct vmctl_cgroup *vmctl_cgroup_take(struct vmctl_loop *loop);

/* Its folder's descriptor, for CLONE_INTO_CGROUP. */
int vmctl_cgroup_fd(const struct vmctl_cgroup *c);

/* Kills all that is in it. */
void vmctl_cgroup_kill(struct vmctl_cgroup *c);

/* Gives it back. Processes in it go on. */
void vmctl_cgroup_leave(struct vmctl_cgroup *c);

/* For a caller whose processes cannot enter a cgroup: from now on none is given. */
void vmctl_cgroup_refuse(struct vmctl_loop *loop);

#endif
