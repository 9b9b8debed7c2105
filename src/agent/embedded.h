/* The Lua modules inside the agent: a table made by tools/embed.lua. */
#ifndef VMCTL_AGENT_EMBEDDED_H
#define VMCTL_AGENT_EMBEDDED_H

#include <stddef.h>

struct vmctl_embedded {
    const char *name;  /* NULL in the last entry */
    const char *chunk; /* what error messages call it */
    const char *bytes;
    size_t size;
};

extern const struct vmctl_embedded vmctl_embedded[];

#endif
