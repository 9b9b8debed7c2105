/* Descriptors in userdata of Lua's, without finalizers. They live as long as the table of the types: they are there when the
 * state's last finalizer runs. */
#include "pb/define.h"

#include "pb/convert.h"
#include "pb/registry.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOT = 8,                             /* each member of a message begins at a multiple */
    UNION = sizeof(ProtobufCBinaryData),  /* its largest member */
    ONEOF = UNION + SLOT,                 /* with the number of the member that is set */
};

/* Stack slots: `kept` is a table of the objects to which descriptors point, `made` one of descriptors by their names. */
struct definer {
    int types, kept, made;
};

struct enum_block {
    ProtobufCEnumDescriptor type;
    ProtobufCEnumValue values[];
};

struct message_block {
    ProtobufCMessageDescriptor type;
    ProtobufCFieldDescriptor fields[];
};

/* The field `key` of the table on the top, which stays as long as the descriptors. */
static const char *keep_text(lua_State *L, const struct definer *d, const char *key)
{
    if (lua_getfield(L, -1, key) != LUA_TSTRING)
        luaL_error(L, "define: no '%s'", key);
    const char *text = lua_tostring(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, d->kept);
    return text;
}

static lua_Integer get_integer(lua_State *L, const char *key)
{
    int is_integer;
    lua_getfield(L, -1, key);
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer)
        luaL_error(L, "define: no '%s'", key);
    lua_pop(L, 1);
    return value;
}

/* Pushes the list `key` of the table on the top. */
static unsigned push_list(lua_State *L, const char *key)
{
    if (lua_getfield(L, -1, key) != LUA_TTABLE || lua_rawlen(L, -1) > 0xffff)
        luaL_error(L, "define: no '%s', or too many", key);
    return (unsigned)lua_rawlen(L, -1);
}

static void *new_block(lua_State *L, const struct definer *d, size_t size, const char *name)
{
    void *block = memset(lua_newuserdatauv(L, size, 0), 0, size);
    lua_pushvalue(L, -1);
    lua_setfield(L, d->made, name);
    lua_rawseti(L, d->kept, (lua_Integer)lua_rawlen(L, d->kept) + 1);
    return block;
}

static int compare_values(const void *a, const void *b)
{
    return strcmp(((const ProtobufCEnumValueIndex *)a)->name, ((const ProtobufCEnumValueIndex *)b)->name);
}

/* The enum of the table on the top. Values are only looked up by their names. */
static void make_enum(lua_State *L, const struct definer *d)
{
    const char *name = keep_text(L, d, "name");
    unsigned count = push_list(L, "values");
    struct enum_block *block =
        new_block(L, d, sizeof *block + count * (sizeof(ProtobufCEnumValue) + sizeof(ProtobufCEnumValueIndex)), name);
    ProtobufCEnumValueIndex *by_name = (ProtobufCEnumValueIndex *)(void *)(block->values + count);
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        const char *value = keep_text(L, d, "name");
        block->values[i] = (ProtobufCEnumValue){ .name = value, .c_name = value, .value = (int)get_integer(L, "number") };
        by_name[i] = (ProtobufCEnumValueIndex){ .name = value, .index = i };
        lua_pop(L, 1);
    }
    qsort(by_name, count, sizeof *by_name, compare_values);
    block->type = (ProtobufCEnumDescriptor){
        .magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC, .name = name, .short_name = name, .c_name = name, .package_name = "",
        .n_values = count, .values = block->values, .n_value_names = count, .values_by_name = by_name,
    };
    lua_pop(L, 1);
}

/* Allocates the message of the table on the top, so that others can refer to its descriptor. */
static void make_room(lua_State *L, const struct definer *d)
{
    const char *name = keep_text(L, d, "name");
    unsigned count = push_list(L, "fields");
    lua_pop(L, 1);
    size_t each = sizeof(ProtobufCFieldDescriptor) + sizeof(unsigned) + sizeof(ProtobufCIntRange);
    struct message_block *block = new_block(L, d, sizeof *block + count * each + sizeof(ProtobufCIntRange), name);
    block->type = (ProtobufCMessageDescriptor){
        .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC, .name = name, .short_name = name, .c_name = name, .package_name = "",
        .n_fields = count, .fields = block->fields,
    };
}

static ProtobufCLabel get_label(lua_State *L)
{
    static const char *const names[] = { "required", "optional", "repeated", "none", NULL };
    static const ProtobufCLabel labels[] = { PROTOBUF_C_LABEL_REQUIRED, PROTOBUF_C_LABEL_OPTIONAL, PROTOBUF_C_LABEL_REPEATED,
                                             PROTOBUF_C_LABEL_NONE };
    lua_getfield(L, -1, "label");
    ProtobufCLabel label = labels[luaL_checkoption(L, -1, NULL, names)];
    lua_pop(L, 1);
    return label;
}

static ProtobufCType get_type(lua_State *L)
{
    lua_getfield(L, -1, "type");
    const char *name = luaL_checkstring(L, -1);
    for (int type = 0; type <= PROTOBUF_C_TYPE_MESSAGE; type++) {
        if (strcmp(name, vmctl_pb_type_name((ProtobufCType)type)) == 0) {
            lua_pop(L, 1);
            return (ProtobufCType)type;
        }
    }
    luaL_error(L, "define: no type '%s'", name);
    __builtin_unreachable();
}

/* The descriptor that the field of the table on the top names, of the kind that its type wants. */
static const void *get_referred(lua_State *L, const struct definer *d, ProtobufCType type)
{
    const uint32_t magic =
        type == PROTOBUF_C_TYPE_ENUM ? PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC : PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC;
    const char *name = keep_text(L, d, "of");
    lua_getfield(L, d->made, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_getfield(L, d->types, name);
    }
    const void *referred = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!referred || *(const uint32_t *)referred != magic) /* both kinds begin with it */
        luaL_error(L, "define: no type '%s'", name);
    return referred;
}

static unsigned take_slot(ProtobufCMessageDescriptor *type, size_t size)
{
    size_t at = type->sizeof_message;
    type->sizeof_message += (size + SLOT - 1) / SLOT * SLOT;
    return (unsigned)at;
}

/* The place of a field in the message; those of oneofs begin it, one behind the other. */
static void lay_out(lua_State *L, ProtobufCMessageDescriptor *type, ProtobufCFieldDescriptor *field, lua_Integer oneofs)
{
    if (lua_getfield(L, -1, "oneof") != LUA_TNIL) {
        lua_Integer oneof = lua_tointeger(L, -1);
        if (oneof < 1 || oneof > oneofs || field->label == PROTOBUF_C_LABEL_REPEATED)
            luaL_error(L, "define: no such oneof");
        field->offset = (unsigned)(sizeof(ProtobufCMessage) + (size_t)(oneof - 1) * ONEOF);
        field->quantifier_offset = field->offset + UNION;
        field->flags |= PROTOBUF_C_FIELD_FLAG_ONEOF;
    } else if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        field->quantifier_offset = take_slot(type, sizeof(size_t));
        field->offset = take_slot(type, sizeof(void *));
    } else {
        const bool is_pointer = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (field->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer)
            field->quantifier_offset = take_slot(type, sizeof(protobuf_c_boolean));
        field->offset = take_slot(type, vmctl_pb_size(field->type));
    }
    lua_pop(L, 1);
}

/* The field of the table on the top. */
static void make_field(lua_State *L, const struct definer *d, ProtobufCMessageDescriptor *type, ProtobufCFieldDescriptor *field,
                       lua_Integer oneofs)
{
    field->name = keep_text(L, d, "name");
    field->id = (uint32_t)get_integer(L, "number");
    field->label = get_label(L);
    field->type = get_type(L);
    if (field->type == PROTOBUF_C_TYPE_ENUM || field->type == PROTOBUF_C_TYPE_MESSAGE)
        field->descriptor = get_referred(L, d, field->type);
    lua_getfield(L, -1, "packed");
    if (lua_toboolean(L, -1))
        field->flags |= PROTOBUF_C_FIELD_FLAG_PACKED;
    lua_pop(L, 1);
    lay_out(L, type, field, oneofs);
}

static int compare_names(const void *a, const void *b, void *fields)
{
    const ProtobufCFieldDescriptor *all = fields;
    return strcmp(all[*(const unsigned *)a].name, all[*(const unsigned *)b].name);
}

/* Makes protobuf-c's indexes of fields: by name, and by number in ranges without a gap, which end with an empty one. */
static void make_indexes(ProtobufCMessageDescriptor *type, ProtobufCFieldDescriptor *fields)
{
    unsigned *by_name = (unsigned *)(void *)(fields + type->n_fields);
    ProtobufCIntRange *ranges = (ProtobufCIntRange *)(void *)(by_name + type->n_fields);
    unsigned count = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        by_name[i] = i;
        if (i == 0 || fields[i].id != fields[i - 1].id + 1)
            ranges[count++] = (ProtobufCIntRange){ .start_value = (int)fields[i].id, .orig_index = i };
    }
    ranges[count] = (ProtobufCIntRange){ .start_value = 0, .orig_index = type->n_fields };
    qsort_r(by_name, type->n_fields, sizeof *by_name, compare_names, fields);
    type->fields_sorted_by_name = by_name;
    type->n_field_ranges = count;
    type->field_ranges = ranges;
}

/* The message of the table on the top. */
static void make_message(lua_State *L, const struct definer *d)
{
    lua_getfield(L, -1, "name");
    lua_getfield(L, d->made, lua_tostring(L, -1));
    struct message_block *block = lua_touserdata(L, -1);
    lua_pop(L, 2);
    lua_Integer oneofs = get_integer(L, "oneofs");
    if (oneofs < 0 || oneofs > block->type.n_fields)
        luaL_error(L, "define: more oneofs than fields");
    block->type.sizeof_message = sizeof(ProtobufCMessage) + (size_t)oneofs * ONEOF;
    push_list(L, "fields");
    for (unsigned i = 0; i < block->type.n_fields; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        make_field(L, d, &block->type, &block->fields[i], oneofs);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    /* The message's size bounds the work of a decode for each field: members of a oneof share theirs. */
    if (block->type.sizeof_message < (size_t)block->type.n_fields * SLOT)
        block->type.sizeof_message = (size_t)block->type.n_fields * SLOT;
    make_indexes(&block->type, block->fields);
}

static void each(lua_State *L, const struct definer *d, int list, void (*make)(lua_State *L, const struct definer *d))
{
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) == LUA_TTABLE; i++) {
        make(L, d);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Pushes the descriptors of the messages as the registry wants them. */
static vmctl_pb_list push_descriptors(lua_State *L, const struct definer *d, int messages)
{
    size_t count = (size_t)lua_rawlen(L, messages);
    const ProtobufCMessageDescriptor **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, messages, (lua_Integer)i + 1);
        lua_getfield(L, -1, "name");
        lua_getfield(L, d->made, lua_tostring(L, -1));
        list[i] = lua_touserdata(L, -1);
        lua_pop(L, 3);
    }
    list[count] = NULL;
    return list;
}


/* Pushes the metatable of the table at `types`, the list of objects that its types need. */
static void push_owner(lua_State *L, int types)
{
    if (lua_getmetatable(L, types))
        return;
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setmetatable(L, types);
}

int vmctl_pb_define(lua_State *L, int types, int messages, int enums)
{
    types = lua_absindex(L, types);
    luaL_checkstack(L, 20, "protobuf types");
    const int top = lua_gettop(L);
    lua_newtable(L);
    lua_newtable(L);
    const struct definer d = { .types = types, .kept = top + 1, .made = top + 2 };
    each(L, &d, enums, make_enum);
    each(L, &d, messages, make_room);
    each(L, &d, messages, make_message);
    vmctl_pb_list list = push_descriptors(L, &d, messages);
    push_owner(L, types);
    const lua_Integer place = (lua_Integer)lua_rawlen(L, -1) + 1;
    lua_pushvalue(L, d.kept);
    lua_rawseti(L, -2, place); /* first: then no want of memory leaves a known type without it */
    int added = vmctl_pb_register(L, types, list, VMCTL_PB_ALL_LISTED);
    if (added <= 0) {
        lua_pushnil(L);
        lua_rawseti(L, added < 0 ? -3 : -2, place);
    }
    return added < 0 ? -1 : 0;
}
