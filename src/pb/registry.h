/* Message types by their full names: a table of each Lua state's own, from name to descriptor. */
#ifndef VMCTL_PB_REGISTRY_H
#define VMCTL_PB_REGISTRY_H

#include <lua.h>
#include <protobuf-c/protobuf-c.h>

/* Exported by a plug-in, and made by the build of proto/: descriptors, the last one NULL. */
typedef const ProtobufCMessageDescriptor *const *vmctl_pb_list;

extern const ProtobufCMessageDescriptor *const vmctl_pb_builtin[];

/* Adds the messages of a list, and those that are their fields, to the table at `types`. Returns 0, or -1 with one message
 * pushed: then nothing was added. A type that is known already stays as it was, if the new one has the same fields. */
int vmctl_pb_register(lua_State *L, int types, vmctl_pb_list list);

#endif
