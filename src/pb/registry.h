/* Message types by their full names: a table of each Lua state's own, from name to descriptor. */
#ifndef VMCTL_PB_REGISTRY_H
#define VMCTL_PB_REGISTRY_H

#include <lua.h>
#include <protobuf-c/protobuf-c.h>

/* Exported by a plug-in, and made by the build of proto/: descriptors, the last one NULL. */
typedef const ProtobufCMessageDescriptor *const *vmctl_pb_list;

extern const ProtobufCMessageDescriptor *const vmctl_pb_builtin[];

enum vmctl_pb_listed {
    VMCTL_PB_WITH_FIELDS, /* what messages have as fields may be missing in the list: it is added with them */
    VMCTL_PB_ALL_LISTED,  /* nothing is missing */
};

/* Adds the messages of a list to the table at `types`. Returns how many are new, or -1 with one message pushed: then nothing was
 * added. A type that is known already stays as it was, if the new one has the same fields. */
int vmctl_pb_register(lua_State *L, int types, vmctl_pb_list list, enum vmctl_pb_listed listed);

#endif
