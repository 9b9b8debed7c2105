/* Shared by encoding and decoding: sizes and names of types, maps, refusals. */
#include "pb/convert.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <string.h>

void vmctl_pb_refuse(lua_State *L, struct vmctl_pb_job *job, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    job->refused = true;
    lua_error(L);
    __builtin_unreachable();
}

size_t vmctl_pb_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(int32_t);
    }
}

const char *vmctl_pb_type_name(ProtobufCType type)
{
    static const char *const names[] = {
        [PROTOBUF_C_TYPE_INT32] = "int32", [PROTOBUF_C_TYPE_SINT32] = "sint32",
        [PROTOBUF_C_TYPE_SFIXED32] = "sfixed32", [PROTOBUF_C_TYPE_INT64] = "int64",
        [PROTOBUF_C_TYPE_SINT64] = "sint64", [PROTOBUF_C_TYPE_SFIXED64] = "sfixed64",
        [PROTOBUF_C_TYPE_UINT32] = "uint32", [PROTOBUF_C_TYPE_FIXED32] = "fixed32",
        [PROTOBUF_C_TYPE_UINT64] = "uint64", [PROTOBUF_C_TYPE_FIXED64] = "fixed64",
        [PROTOBUF_C_TYPE_FLOAT] = "float", [PROTOBUF_C_TYPE_DOUBLE] = "double", [PROTOBUF_C_TYPE_BOOL] = "bool",
        [PROTOBUF_C_TYPE_ENUM] = "enum", [PROTOBUF_C_TYPE_STRING] = "string", [PROTOBUF_C_TYPE_BYTES] = "bytes",
        [PROTOBUF_C_TYPE_MESSAGE] = "message",
    };
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "?";
}

/* True if `name` is protoc's name for the entries of a map: some_files -> SomeFilesEntry. */
static bool is_entry_name(const char *name, const char *field)
{
    bool capital = true;
    for (; *field; field++) {
        if (*field == '_') {
            capital = true;
            continue;
        }
        char want = capital && *field >= 'a' && *field <= 'z' ? (char)(*field - 'a' + 'A') : *field;
        capital = false;
        if (*name++ != want)
            return false;
    }
    return strcmp(name, "Entry") == 0;
}

bool vmctl_pb_is_map(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (entry->n_fields != 2 || entry->fields[0].id != 1 || entry->fields[1].id != 2 ||
        strcmp(entry->fields[0].name, "key") != 0 || strcmp(entry->fields[1].name, "value") != 0)
        return false;
    switch (entry->fields[0].type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return false;
    default:
        break;
    }
    size_t outer = strlen(type->name);
    return entry->fields[0].label != PROTOBUF_C_LABEL_REPEATED && entry->fields[1].label != PROTOBUF_C_LABEL_REPEATED &&
           strncmp(entry->name, type->name, outer) == 0 && entry->name[outer] == '.' &&
           is_entry_name(entry->name + outer + 1, field->name);
}

void vmctl_pb_descend(lua_State *L, struct vmctl_pb_job *job)
{
    if (++job->depth > VMCTL_PB_DEPTH)
        vmctl_pb_refuse(L, job, "messages nested more than %d deep", VMCTL_PB_DEPTH);
    luaL_checkstack(L, 10, "protobuf");
}
