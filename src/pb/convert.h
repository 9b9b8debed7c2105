/* Messages of protobuf-c from and to Lua tables, by their descriptors. The wire format itself is protobuf-c's. */
#ifndef VMCTL_PB_CONVERT_H
#define VMCTL_PB_CONVERT_H

#include "pb/arena.h"

#include <lua.h>
#include <stdbool.h>

enum {
    VMCTL_PB_DEPTH = 100,          /* messages in messages */
    VMCTL_PB_LARGEST = 0x7fffffff, /* bytes of a message, as in every implementation */
};

/* One call, from its arguments to its result. It lives in the frame below lua_pcall, so that an error of Lua's frees it. */
struct vmctl_pb_job {
    struct vmctl_arena arena;
    const ProtobufCMessageDescriptor *type;
    const ProtobufCMessageDescriptor *inner; /* of the message in a field of bytes; NULL: there is none */
    const char *slot;                        /* that field, of a decode */
    const char *bytes; /* of a decode */
    size_t len;
    int depth;
    bool refused; /* the error is about the value, not about Lua: it becomes nil, message, code */
};

/* Ends the job with a message of lua_pushfstring's formats. */
_Noreturn void vmctl_pb_refuse(lua_State *L, struct vmctl_pb_job *job, const char *format, ...);

/* lua_CFunctions for lua_pcall. encode: (table [, name of a field of bytes, table], job) -> bytes; decode: (job) -> table. */
int vmctl_pb_encode(lua_State *L);
int vmctl_pb_decode(lua_State *L);

/* The message of the table on the top of the stack, whose strings it points into. Refuses, and lets Lua allocate nothing. */
ProtobufCMessage *vmctl_pb_take(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessageDescriptor *type);

/* Its bytes, in the arena; without a pointer where there are none, which protobuf-c takes for a value. */
ProtobufCBinaryData vmctl_pb_pack(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessage *m);

/* Pushes a message that was decoded into the arena as a table. Refuses. */
void vmctl_pb_push(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessage *m);

/* Gives the core, through the registry, the functions that make envelopes. The message types are on top of the stack. */
void vmctl_pb_offer_envelopes(lua_State *L);

/* Bytes of one value of a type, as protobuf-c lays it out. */
size_t vmctl_pb_size(ProtobufCType type);

/* "int32", "message" ... as a .proto spells it. */
const char *vmctl_pb_type_name(ProtobufCType type);

/* True if a field of a message is a map: protobuf-c only knows the repeated entries that a map is on the wire. */
bool vmctl_pb_is_map(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field);

/* Goes one message deeper, or refuses to. The caller comes up again with job->depth--. */
void vmctl_pb_descend(lua_State *L, struct vmctl_pb_job *job);

#endif
