/* Message types that are made while a program runs: descriptors as protoc-c would have compiled them. */
#ifndef VMCTL_PB_DEFINE_H
#define VMCTL_PB_DEFINE_H

#include <lua.h>

/* Makes types of two lists and adds them to the table at `types`. `messages`: { name, oneofs, fields = { { name, number, label,
 * type, packed, oneof, of }... by their numbers } }, `enums`: { name, values = { { name, number }... } }, with names that are full,
 * and alone of their kind. label: "none", "optional", "required", "repeated"; oneof: from 1 to `oneofs`; of: the full name of a
 * message or an enum, one of these lists or a message that is known. Returns 0, or -1 with one message pushed: then nothing was
 * added. Raises on lists of another shape. */
int vmctl_pb_define(lua_State *L, int types, int messages, int enums);

#endif
