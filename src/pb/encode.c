/* Lua tables to messages. */
#include "pb/convert.h"
#include "pb/utf8.h"

#include <lauxlib.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Nothing here lets Lua allocate before the message is packed: a finalizer could otherwise take away a string to which the
 * message already points. */

typedef const ProtobufCFieldDescriptor field_t;
typedef const ProtobufCMessageDescriptor type_t;

static void *member(ProtobufCMessage *m, unsigned offset)
{
    return (char *)m + offset;
}

static void *take(lua_State *L, struct vmctl_pb_job *job, size_t count, size_t size)
{
    void *piece = count > PTRDIFF_MAX / size ? NULL : vmctl_arena_take(&job->arena, count * size);
    if (!piece)
        luaL_error(L, "not enough memory");
    memset(piece, 0, count * size);
    return piece;
}

_Noreturn static void refuse_type(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field, const char *wanted)
{
    vmctl_pb_refuse(L, job, "%s.%s: %s expected, got %s", type->name, field->name, wanted, luaL_typename(L, -1));
}

/* The value on the top of the stack, here and below. Texts that look like numbers are none. */
static lua_Integer take_integer(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field, lua_Integer low,
                                lua_Integer high)
{
    int is_integer = 0;
    lua_Integer value = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
    if (lua_type(L, -1) != LUA_TNUMBER)
        refuse_type(L, job, type, field, "integer");
    if (!is_integer)
        vmctl_pb_refuse(L, job, "%s.%s: the number has no integer representation", type->name, field->name);
    if (value < low || value > high)
        vmctl_pb_refuse(L, job, "%s.%s: %I does not fit %s", type->name, field->name, (LUAI_UACINT)value,
                        vmctl_pb_type_name(field->type));
    return value;
}

static lua_Number take_number(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field)
{
    if (lua_type(L, -1) != LUA_TNUMBER)
        refuse_type(L, job, type, field, "number");
    return lua_tonumber(L, -1);
}

/* A value beyond the range of float is refused; it does not become infinite. */
static float take_float(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field)
{
    lua_Number value = take_number(L, job, type, field);
    if (isfinite(value) && !isfinite((float)value))
        vmctl_pb_refuse(L, job, "%s.%s: %f does not fit float", type->name, field->name, (LUAI_UACNUMBER)value);
    return (float)value;
}

static int32_t take_enum(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field)
{
    if (lua_type(L, -1) == LUA_TNUMBER)
        return (int32_t)take_integer(L, job, type, field, INT32_MIN, INT32_MAX);
    if (lua_type(L, -1) != LUA_TSTRING)
        refuse_type(L, job, type, field, "integer or name");
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, lua_tostring(L, -1));
    if (value)
        return value->value;
    vmctl_pb_refuse(L, job, "%s.%s: %s has no value '%s'", type->name, field->name,
                    ((const ProtobufCEnumDescriptor *)field->descriptor)->name, lua_tostring(L, -1));
}

static char *take_string(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        refuse_type(L, job, type, field, "string");
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (memchr(text, '\0', len)) /* protobuf-c would end the text there */
        vmctl_pb_refuse(L, job, "%s.%s: the string holds a zero byte", type->name, field->name);
    if (!vmctl_utf8_valid(text, len))
        vmctl_pb_refuse(L, job, "%s.%s: the string is not UTF-8", type->name, field->name);
    if (len > VMCTL_PB_LARGEST)
        vmctl_pb_refuse(L, job, "%s.%s: the string is too long", type->name, field->name);
    return (char *)(uintptr_t)text; /* never written to */
}

static ProtobufCBinaryData take_bytes(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        refuse_type(L, job, type, field, "string");
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (len > VMCTL_PB_LARGEST)
        vmctl_pb_refuse(L, job, "%s.%s: the string is too long", type->name, field->name);
    /* without bytes there is no pointer either: protobuf-c takes that one for a value */
    return (ProtobufCBinaryData){ .len = len, .data = len ? (uint8_t *)(uintptr_t)text : NULL };
}

static void set_value(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field, void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)at = (uint32_t)take_integer(L, job, type, field, 0, UINT32_MAX);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(int64_t *)at = take_integer(L, job, type, field, LUA_MININTEGER, LUA_MAXINTEGER);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)at = take_float(L, job, type, field);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)at = take_number(L, job, type, field);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        if (lua_type(L, -1) != LUA_TBOOLEAN)
            refuse_type(L, job, type, field, "boolean");
        *(protobuf_c_boolean *)at = lua_toboolean(L, -1);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        *(int32_t *)at = take_enum(L, job, type, field);
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = take_string(L, job, type, field);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)at = take_bytes(L, job, type, field);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        if (lua_type(L, -1) != LUA_TTABLE)
            refuse_type(L, job, type, field, "table");
        *(ProtobufCMessage **)at = vmctl_pb_take(L, job, field->descriptor);
        break;
    default:
        *(int32_t *)at = (int32_t)take_integer(L, job, type, field, INT32_MIN, INT32_MAX);
    }
}

static int compare_keys(const void *left, const void *right)
{
    const ProtobufCMessage *a = *(ProtobufCMessage *const *)left, *b = *(ProtobufCMessage *const *)right;
    field_t *key = &a->descriptor->fields[0];
    const void *x = (const char *)a + key->offset, *y = (const char *)b + key->offset;
    if (key->type == PROTOBUF_C_TYPE_STRING)
        return strcmp(*(char *const *)x, *(char *const *)y);
    if (vmctl_pb_size(key->type) == sizeof(int64_t))
        return (*(const int64_t *)x > *(const int64_t *)y) - (*(const int64_t *)x < *(const int64_t *)y);
    return (*(const int32_t *)x > *(const int32_t *)y) - (*(const int32_t *)x < *(const int32_t *)y);
}

static ProtobufCMessage *new_message(lua_State *L, struct vmctl_pb_job *job, type_t *type)
{
    ProtobufCMessage *m = take(L, job, 1, type->sizeof_message);
    if (type->message_init)
        type->message_init(m);
    else
        m->descriptor = type;
    return m;
}

/* True for a value that protobuf-c takes for an absent one though it is not: -0.0 of a field without presence. */
static bool is_lost_zero(field_t *field, const void *at)
{
    if (field->label != PROTOBUF_C_LABEL_NONE || (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return false;
    if (field->type == PROTOBUF_C_TYPE_FLOAT)
        return *(const float *)at == 0 && signbit(*(const float *)at);
    return field->type == PROTOBUF_C_TYPE_DOUBLE && *(const double *)at == 0 && signbit(*(const double *)at);
}

/* Puts -0.0 among the unknown fields, which are packed as they are; in the order of their numbers. */
static void add_unknown(lua_State *L, struct vmctl_pb_job *job, ProtobufCMessage *m, field_t *field)
{
    ProtobufCMessageUnknownField *fields = m->unknown_fields;
    if (!fields) /* each field comes once */
        fields = m->unknown_fields = take(L, job, m->descriptor->n_fields, sizeof *fields);
    unsigned i = m->n_unknown_fields++;
    for (; i > 0 && fields[i - 1].tag > field->id; i--)
        fields[i] = fields[i - 1];
    const bool is_float = field->type == PROTOBUF_C_TYPE_FLOAT;
    fields[i] = (ProtobufCMessageUnknownField){
        .tag = field->id, .wire_type = is_float ? PROTOBUF_C_WIRE_TYPE_32BIT : PROTOBUF_C_WIRE_TYPE_64BIT,
        .len = vmctl_pb_size(field->type), .data = take(L, job, 1, sizeof(uint64_t)),
    };
    fields[i].data[fields[i].len - 1] = 0x80; /* the sign; the wire has its last byte last on every machine */
}

static void set_single(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field, ProtobufCMessage *m)
{
    void *at = member(m, field->offset);
    set_value(L, job, type, field, at);
    if (is_lost_zero(field, at))
        add_unknown(L, job, m, field);
}

/* Pairs in any order: their keys are sorted, so that one table always gives the same bytes. */
static void set_map(lua_State *L, struct vmctl_pb_job *job, field_t *field, ProtobufCMessage **entries)
{
    type_t *type = field->descriptor;
    size_t count = 0;
    vmctl_pb_descend(L, job);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        ProtobufCMessage *entry = entries[count++] = new_message(L, job, type);
        set_single(L, job, type, &type->fields[1], entry);
        if (type->fields[1].label == PROTOBUF_C_LABEL_OPTIONAL && type->fields[1].quantifier_offset)
            *(protobuf_c_boolean *)member(entry, type->fields[1].quantifier_offset) = 1;
        lua_pop(L, 1);
        set_value(L, job, type, &type->fields[0], member(entry, type->fields[0].offset));
        if (type->fields[0].label == PROTOBUF_C_LABEL_OPTIONAL && type->fields[0].quantifier_offset)
            *(protobuf_c_boolean *)member(entry, type->fields[0].quantifier_offset) = 1;
    }
    job->depth--;
    qsort(entries, count, sizeof *entries, compare_keys);
}

static size_t count_pairs(lua_State *L)
{
    size_t count = 0;
    lua_pushnil(L);
    for (; lua_next(L, -2); count++)
        lua_pop(L, 1);
    return count;
}

static void set_repeated(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field, ProtobufCMessage *m)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        refuse_type(L, job, type, field, "table");
    const bool is_map = vmctl_pb_is_map(type, field);
    size_t count = count_pairs(L), size = vmctl_pb_size(field->type);
    if (!is_map && count != lua_rawlen(L, -1))
        vmctl_pb_refuse(L, job, "%s.%s: a list expected: the table has holes, or other keys", type->name, field->name);
    if (count == 0)
        return;
    char *items = take(L, job, count, size);
    if (is_map) {
        set_map(L, job, field, (ProtobufCMessage **)(void *)items);
    } else {
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            set_value(L, job, type, field, items + i * size);
            lua_pop(L, 1);
        }
    }
    *(size_t *)member(m, field->quantifier_offset) = count;
    *(void **)member(m, field->offset) = items;
}

/* Marks a field as present, where its value alone does not show it. */
static void set_present(lua_State *L, struct vmctl_pb_job *job, type_t *type, field_t *field, ProtobufCMessage *m)
{
    void *quantifier = member(m, field->quantifier_offset);
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (*(uint32_t *)quantifier != 0)
            vmctl_pb_refuse(L, job, "%s.%s: another field of the same oneof is set", type->name, field->name);
        *(uint32_t *)quantifier = field->id;
    } else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->type != PROTOBUF_C_TYPE_STRING &&
               field->type != PROTOBUF_C_TYPE_MESSAGE) {
        *(protobuf_c_boolean *)quantifier = 1;
    }
}

static field_t *find_field(lua_State *L, struct vmctl_pb_job *job, type_t *type)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        vmctl_pb_refuse(L, job, "%s: names of fields are strings, this one is a %s", type->name, luaL_typename(L, -2));
    const char *name = lua_tostring(L, -2);
    field_t *field = protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (!field)
        vmctl_pb_refuse(L, job, "%s has no field '%s'", type->name, name);
    return field;
}

static unsigned count_required(type_t *type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < type->n_fields; i++)
        count += type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED;
    return count;
}

ProtobufCMessage *vmctl_pb_take(lua_State *L, struct vmctl_pb_job *job, type_t *type)
{
    vmctl_pb_descend(L, job);
    ProtobufCMessage *m = new_message(L, job, type);
    unsigned required = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        field_t *field = find_field(L, job, type);
        required += field->label == PROTOBUF_C_LABEL_REQUIRED;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            set_repeated(L, job, type, field, m);
        } else {
            set_present(L, job, type, field, m);
            set_single(L, job, type, field, m);
        }
        lua_pop(L, 1);
    }
    if (required != count_required(type))
        vmctl_pb_refuse(L, job, "%s: a required field is missing", type->name);
    job->depth--;
    return m;
}

ProtobufCBinaryData vmctl_pb_pack(lua_State *L, struct vmctl_pb_job *job, const ProtobufCMessage *m)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    if (size > VMCTL_PB_LARGEST)
        vmctl_pb_refuse(L, job, "the message is larger than 2 GiB");
    uint8_t *bytes = take(L, job, size + 1, 1);
    protobuf_c_message_pack(m, bytes);
    return (ProtobufCBinaryData){ .len = size, .data = size ? bytes : NULL };
}

static field_t *find_slot(lua_State *L, struct vmctl_pb_job *job, const char *slot)
{
    field_t *field = protobuf_c_message_descriptor_get_field_by_name(job->type, slot);
    if (field && field->type == PROTOBUF_C_TYPE_BYTES && field->label != PROTOBUF_C_LABEL_REPEATED)
        return field;
    vmctl_pb_refuse(L, job, "%s has no field '%s' of bytes", job->type->name, slot);
}

/* Puts the message of the table on the top of the stack into a field of bytes. */
static void set_packed(lua_State *L, struct vmctl_pb_job *job, ProtobufCMessage *m, const char *slot)
{
    field_t *field = find_slot(L, job, slot);
    ProtobufCBinaryData packed = vmctl_pb_pack(L, job, vmctl_pb_take(L, job, job->inner));
    set_present(L, job, job->type, field, m);
    *(ProtobufCBinaryData *)member(m, field->offset) = packed;
}

int vmctl_pb_encode(lua_State *L)
{
    struct vmctl_pb_job *job = lua_touserdata(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, 1);
    ProtobufCMessage *m = vmctl_pb_take(L, job, job->type);
    lua_pop(L, 1);
    if (job->inner)
        set_packed(L, job, m, lua_tostring(L, 2)); /* its table is on the top */
    ProtobufCBinaryData bytes = vmctl_pb_pack(L, job, m);
    lua_pushlstring(L, (const char *)bytes.data, bytes.len);
    return 1;
}
