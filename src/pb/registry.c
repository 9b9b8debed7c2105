/* The table of a Lua state's message types. */
#include "pb/registry.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

static const ProtobufCMessageDescriptor *find(lua_State *L, int types, const char *name)
{
    lua_getfield(L, types, name);
    const ProtobufCMessageDescriptor *type = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return type;
}

static bool is_same_field(const ProtobufCFieldDescriptor *a, const ProtobufCFieldDescriptor *b)
{
    if (a->id != b->id || a->label != b->label || a->type != b->type || strcmp(a->name, b->name) != 0)
        return false;
    if (a->type != PROTOBUF_C_TYPE_MESSAGE)
        return true;
    const ProtobufCMessageDescriptor *x = a->descriptor, *y = b->descriptor;
    return strcmp(x->name, y->name) == 0;
}

static bool is_same(const ProtobufCMessageDescriptor *a, const ProtobufCMessageDescriptor *b)
{
    if (a == b)
        return true;
    if (a->n_fields != b->n_fields)
        return false;
    for (unsigned i = 0; i < a->n_fields; i++)
        if (!is_same_field(&a->fields[i], &b->fields[i]))
            return false;
    return true;
}

static bool is_usable_field(const ProtobufCFieldDescriptor *field)
{
    if (!field->name || field->label > PROTOBUF_C_LABEL_NONE || field->type > PROTOBUF_C_TYPE_MESSAGE)
        return false;
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        const ProtobufCEnumDescriptor *values = field->descriptor;
        return values && values->magic == PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC && values->name && values->values_by_name;
    }
    return field->type != PROTOBUF_C_TYPE_MESSAGE || field->descriptor;
}

/* Made by protoc-c with names of fields (optimize_for = CODE_SIZE leaves them out). */
static bool is_usable(const ProtobufCMessageDescriptor *type)
{
    if (type->magic != PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC || !type->name || !type->name[0])
        return false;
    if (type->n_fields > 0 && (!type->fields || !type->fields_sorted_by_name))
        return false;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (!is_usable_field(&type->fields[i]))
            return false;
    return true;
}

/* 1: added, 0: known already, -1 with a message pushed: neither. */
static int add_one(lua_State *L, int types, int fresh, const ProtobufCMessageDescriptor *type)
{
    luaL_checkstack(L, 8, "protobuf types");
    if (!is_usable(type)) {
        lua_pushfstring(L, "%s: made without names, or not by protoc-c", type->name ? type->name : "a message");
        return -1;
    }
    const ProtobufCMessageDescriptor *known = find(L, types, type->name);
    if (!known)
        known = find(L, fresh, type->name);
    if (known && !is_same(known, type)) {
        lua_pushfstring(L, "there is another message %s already", type->name);
        return -1;
    }
    if (known)
        return 0;
    lua_pushlightuserdata(L, (void *)(uintptr_t)type);
    lua_setfield(L, fresh, type->name);
    return 1;
}

/* Returns how many are new. */
static int add(lua_State *L, int types, int fresh, const ProtobufCMessageDescriptor *type)
{
    int count = add_one(L, types, fresh, type);
    for (unsigned i = 0; count > 0 && i < type->n_fields; i++) {
        if (type->fields[i].type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        int more = add(L, types, fresh, type->fields[i].descriptor);
        if (more < 0)
            return -1;
        count += more;
    }
    return count;
}

int vmctl_pb_register(lua_State *L, int types, vmctl_pb_list list, enum vmctl_pb_listed listed)
{
    types = lua_absindex(L, types);
    lua_newtable(L);
    const int fresh = lua_gettop(L);
    int count = 0;
    for (; *list; list++) {
        int more = listed == VMCTL_PB_ALL_LISTED ? add_one(L, types, fresh, *list) : add(L, types, fresh, *list);
        count += more;
        if (more < 0) {
            lua_remove(L, fresh);
            return -1;
        }
    }
    lua_pushnil(L);
    while (lua_next(L, fresh)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, types);
    }
    lua_pop(L, 1);
    return count;
}
