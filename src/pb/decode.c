/* Messages to Lua tables. */
#include "pb/convert.h"
#include "pb/unpack.h"
#include "pb/utf8.h"

#include <lauxlib.h>
#include <limits.h>
#include <string.h>

static const void *member(const ProtobufCMessage *m, unsigned offset)
{
    return (const char *)m + offset;
}

/* A text that was decoded may hold zeros: its length is that of its memory, without the last byte. */
static void push_string(lua_State *L, struct vmctl_pb_job *job, const ProtobufCFieldDescriptor *field, const char *text)
{
    if (!text || text == field->default_value) {
        lua_pushstring(L, text ? text : "");
        return;
    }
    size_t len = vmctl_arena_size(text) - 1;
    if (!vmctl_utf8_valid(text, len))
        vmctl_pb_refuse(L, job, "field '%s' is not UTF-8", field->name);
    lua_pushlstring(L, text, len);
}

static void push_value(lua_State *L, struct vmctl_pb_job *job, const ProtobufCFieldDescriptor *field, const void *at)
{
    const ProtobufCBinaryData *bytes;
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        lua_pushinteger(L, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64: /* the same 64 bits: negative from 2^63 on */
    case PROTOBUF_C_TYPE_FIXED64:
        lua_pushinteger(L, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        lua_pushnumber(L, (lua_Number) * (const float *)at);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        lua_pushnumber(L, *(const double *)at);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        lua_pushboolean(L, *(const protobuf_c_boolean *)at);
        break;
    case PROTOBUF_C_TYPE_STRING:
        push_string(L, job, field, *(const char *const *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        bytes = at;
        lua_pushlstring(L, bytes->len ? (const char *)bytes->data : "", bytes->len);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        vmctl_pb_push(L, job, *(ProtobufCMessage *const *)at);
        break;
    default: /* 32 bits with a sign, and enums */
        lua_pushinteger(L, *(const int32_t *)at);
    }
}

/* The value of a map's entry; a message that was left out is one without fields. */
static void push_entry_value(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
    const void *at = member(entry, value->offset);
    ProtobufCMessage *empty = NULL;
    if (value->type == PROTOBUF_C_TYPE_MESSAGE && !*(ProtobufCMessage *const *)at) {
        empty = protobuf_c_message_unpack(value->descriptor, &job->arena.allocator, 0, (const uint8_t *)"");
        if (!empty)
            vmctl_pb_refuse(L, job, "an entry of map '%s' has no value", entry->descriptor->name);
        at = &empty;
    }
    push_value(L, job, value, at);
}

static void push_map(lua_State *L, struct vmctl_pb_job *job, ProtobufCMessage *const *entries, size_t count)
{
    lua_createtable(L, 0, count > INT_MAX / 2 ? 0 : (int)count);
    for (size_t i = 0; i < count; i++) {
        const ProtobufCFieldDescriptor *key = &entries[i]->descriptor->fields[0];
        push_value(L, job, key, member(entries[i], key->offset));
        push_entry_value(L, job, entries[i]);
        lua_rawset(L, -3);
    }
}

static void push_repeated(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessage *m,
                          const ProtobufCFieldDescriptor *field)
{
    size_t count = *(const size_t *)member(m, field->quantifier_offset);
    const char *items = *(const char *const *)member(m, field->offset);
    size_t size = vmctl_pb_size(field->type);
    if (vmctl_pb_is_map(m->descriptor, field)) {
        push_map(L, job, (ProtobufCMessage *const *)(const void *)items, count);
        return;
    }
    lua_createtable(L, count > INT_MAX / 2 ? 0 : (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_value(L, job, field, items + i * size);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static bool is_present(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *field)
{
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)member(m, field->quantifier_offset) == field->id;
    const void *pointed = NULL;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING)
        pointed = *(const void *const *)member(m, field->offset);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return pointed != NULL;
    if (field->label != PROTOBUF_C_LABEL_OPTIONAL)
        return true; /* proto3: absent is the same as zero or empty */
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return pointed && pointed != field->default_value;
    return *(const protobuf_c_boolean *)member(m, field->quantifier_offset);
}

_Noreturn static void refuse_bytes(lua_State *L, struct vmctl_pb_job *job, size_t len)
{
    switch (job->arena.end) {
    case VMCTL_ARENA_NOMEM:
        luaL_error(L, "not enough memory");
        __builtin_unreachable();
    case VMCTL_ARENA_BIG:
        vmctl_pb_refuse(L, job, "would take more than %d MiB", (int)(job->arena.most >> 20));
    case VMCTL_ARENA_DEEP:
        vmctl_pb_refuse(L, job, "messages nested more than %d deep", VMCTL_PB_DEPTH);
    default: /* protobuf-c does not give the reason */
        vmctl_pb_refuse(L, job, "%d bytes that are no such message", (int)len);
    }
}

/* Decodes a field of bytes as a message of the given type. */
static void push_inner(lua_State *L, struct vmctl_pb_job *job, const ProtobufCBinaryData *bytes)
{
    const ProtobufCMessage *m = vmctl_pb_unpack(job->inner, &job->arena.allocator, bytes->len, bytes->data);
    if (m)
        vmctl_pb_push(L, job, m);
    else
        refuse_bytes(L, job, bytes->len);
}

/* True if a field is the one whose bytes are decoded as a message. Empty bytes are not. */
static bool is_slot(const struct vmctl_pb_job *job, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *field)
{
    return job->inner && job->depth == 1 && m->descriptor == job->type && field->type == PROTOBUF_C_TYPE_BYTES &&
           strcmp(field->name, job->slot) == 0 && ((const ProtobufCBinaryData *)member(m, field->offset))->len > 0;
}

void vmctl_pb_push(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessage *m)
{
    vmctl_pb_descend(L, job);
    const ProtobufCMessageDescriptor *type = m->descriptor;
    lua_createtable(L, 0, (int)type->n_fields);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            push_repeated(L, job, m, field);
        else if (is_slot(job, m, field))
            push_inner(L, job, member(m, field->offset));
        else if (is_present(m, field))
            push_value(L, job, field, member(m, field->offset));
        else
            continue;
        lua_setfield(L, -2, field->name);
    }
    job->depth--;
}

int vmctl_pb_decode(lua_State *L)
{
    struct vmctl_pb_job *job = lua_touserdata(L, 1);
    const ProtobufCMessage *m =
        vmctl_pb_unpack(job->type, &job->arena.allocator, job->len, (const uint8_t *)job->bytes);
    if (m) {
        vmctl_pb_push(L, job, m);
        return 1;
    }
    refuse_bytes(L, job, job->len);
}
