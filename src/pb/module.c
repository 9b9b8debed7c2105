/* vmctl.pb: messages by protobuf-c, in a shared object of its own, so that vmctl works without it. The functions are those
 * of lua/vmctl/protobuf/init.lua, where they are described. */
#include "pb/convert.h"
#include "pb/define.h"
#include "pb/registry.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <string.h>

__attribute__((visibility("default"))) int luaopen_vmctl_pb(lua_State *L);

enum { TYPES = 1 /* the upvalue of every function: name -> descriptor */ };

static int fail(lua_State *L, const char *code)
{
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, code);
    return 3;
}

/* Finds a message type. NULL with nil, message, code pushed: there is none of that name. */
static const ProtobufCMessageDescriptor *check_type_at(lua_State *L, int arg, const char *verb)
{
    luaL_checktype(L, arg, LUA_TSTRING);
    lua_pushvalue(L, arg);
    lua_rawget(L, lua_upvalueindex(TYPES));
    const ProtobufCMessageDescriptor *type = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!type) {
        lua_pushfstring(L, "%s %s: there is no such message", verb, lua_tostring(L, arg));
        fail(L, "EINVAL");
    }
    return type;
}

static const ProtobufCMessageDescriptor *check_type(lua_State *L, const char *verb)
{
    return check_type_at(L, 1, verb);
}

/* Arguments at + 0 and at + 1: a field of bytes, and the message in it. False: there is no such message. */
static bool check_inner(lua_State *L, struct vmctl_pb_job *job, int at, const char *verb)
{
    job->inner = NULL;
    if (lua_isnoneornil(L, at))
        return true;
    luaL_checktype(L, at, LUA_TSTRING);
    job->slot = lua_tostring(L, at);
    job->inner = check_type_at(L, at + 1, verb);
    return job->inner != NULL;
}

/* Calls the function with its arguments, which are on the stack, and frees the job's memory in any case. */
static int finish(lua_State *L, struct vmctl_pb_job *job, int args, const char *verb, const char *code)
{
    int status = lua_pcall(L, args, 1, 0);
    vmctl_arena_free(&job->arena);
    if (status == LUA_OK)
        return 1;
    if (!job->refused)
        return lua_error(L);
    lua_pushfstring(L, "%s %s: %s", verb, job->type->name, lua_tostring(L, -1));
    return fail(L, code);
}

/* pb.encode(name, table [, field, name, table]) -> bytes | nil, message, "EINVAL" */
static int l_encode(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    struct vmctl_pb_job job;
    job.type = check_type(L, "encode");
    if (!job.type || !check_inner(L, &job, 3, "encode"))
        return 3;
    if (job.inner)
        luaL_checktype(L, 5, LUA_TTABLE);
    job.depth = 0;
    job.refused = false;
    vmctl_arena_open(&job.arena, SIZE_MAX / 4);
    lua_pushcfunction(L, vmctl_pb_encode);
    lua_pushvalue(L, 2);
    if (job.inner) {
        lua_pushvalue(L, 3);
        lua_pushvalue(L, 5);
    }
    lua_pushlightuserdata(L, &job);
    return finish(L, &job, job.inner ? 4 : 2, "encode", "EINVAL");
}

/* pb.decode(name, bytes [, field, name]) -> table | nil, message, "EPROTO" */
static int l_decode(lua_State *L)
{
    /* Many small messages take some thirty times their bytes; more is a sign of an attack. */
    static const size_t base = 1 << 20, factor = 32;
    luaL_checktype(L, 2, LUA_TSTRING);
    struct vmctl_pb_job job;
    job.type = check_type(L, "decode");
    if (!job.type || !check_inner(L, &job, 3, "decode"))
        return 3;
    job.bytes = lua_tolstring(L, 2, &job.len);
    if (job.len > VMCTL_PB_LARGEST) {
        lua_pushfstring(L, "decode %s: more than 2 GiB", job.type->name);
        return fail(L, "EPROTO");
    }
    job.depth = 0;
    job.refused = false;
    vmctl_arena_open(&job.arena, base + factor * job.len);
    lua_pushcfunction(L, vmctl_pb_decode);
    lua_pushlightuserdata(L, &job);
    return finish(L, &job, 1, "decode", "EPROTO");
}

/* pb.exists(name) -> boolean */
static int l_exists(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 1);
    lua_rawget(L, lua_upvalueindex(TYPES));
    lua_pushboolean(L, !lua_isnil(L, -1));
    return 1;
}

/* pb.names() -> list, in no order */
static int l_names(lua_State *L)
{
    lua_settop(L, 0);
    lua_newtable(L);
    lua_pushnil(L);
    for (lua_Integer i = 1; lua_next(L, lua_upvalueindex(TYPES)); i++) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 1, i);
    }
    return 1;
}

static void push_enum(lua_State *L, const ProtobufCEnumDescriptor *type)
{
    lua_pushstring(L, type->name);
    lua_setfield(L, -2, "enum");
    lua_createtable(L, 0, (int)type->n_value_names);
    for (unsigned i = 0; i < type->n_value_names; i++) {
        lua_pushinteger(L, type->values[type->values_by_name[i].index].value);
        lua_setfield(L, -2, type->values_by_name[i].name);
    }
    lua_setfield(L, -2, "values");
}

static void push_field(lua_State *L, const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
    lua_createtable(L, 0, 8);
    lua_pushstring(L, field->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, vmctl_pb_type_name(field->type));
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, field->id);
    lua_setfield(L, -2, "number");
    lua_pushboolean(L, field->label == PROTOBUF_C_LABEL_REPEATED);
    lua_setfield(L, -2, "repeated");
    lua_pushboolean(L, vmctl_pb_is_map(type, field));
    lua_setfield(L, -2, "map");
    lua_pushboolean(L, (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0);
    lua_setfield(L, -2, "oneof");
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        lua_pushstring(L, ((const ProtobufCMessageDescriptor *)field->descriptor)->name);
        lua_setfield(L, -2, "message");
    } else if (field->type == PROTOBUF_C_TYPE_ENUM) {
        push_enum(L, field->descriptor);
    }
}

/* pb.fields(name) -> list | nil, message, "EINVAL" */
static int l_fields(lua_State *L)
{
    const ProtobufCMessageDescriptor *type = check_type(L, "fields of");
    if (!type)
        return 3;
    lua_createtable(L, (int)type->n_fields, 0);
    for (unsigned i = 0; i < type->n_fields; i++) {
        push_field(L, type, &type->fields[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* pb.define(messages, enums) -> true | nil, message, "EINVAL": see pb/define.h */
static int l_define(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(TYPES));
    if (vmctl_pb_define(L, 3, 1, 2) < 0)
        return fail(L, "EINVAL");
    lua_pushboolean(L, 1);
    return 1;
}

#ifdef VMCTL_PB_STATIC
/* A static program has no loader. */
static int l_load(lua_State *L)
{
    lua_pushfstring(L, "load %s: this program was linked statically", luaL_checkstring(L, 1));
    return fail(L, "ENOTSUP");
}
#else
static void push_listed(lua_State *L, vmctl_pb_list list)
{
    lua_newtable(L);
    for (lua_Integer i = 0; list[i]; i++) {
        lua_pushstring(L, list[i]->name);
        lua_rawseti(L, -2, i + 1);
    }
}

/* pb.load(path [, symbol]) -> list of names | nil, message, code. What was registered points into the object: it stays. */
static int l_load(lua_State *L)
{
    size_t len, symbol_len;
    const char *path = luaL_checklstring(L, 1, &len), *symbol = luaL_optlstring(L, 2, "vmctl_messages", &symbol_len);
    if (strlen(path) != len || strlen(symbol) != symbol_len) {
        lua_pushfstring(L, "load %s: the name of it or of its list has a NUL byte", path);
        return fail(L, "EINVAL");
    }
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!object) {
        lua_pushfstring(L, "load %s: %s", path, dlerror());
        return fail(L, "ENOENT");
    }
    vmctl_pb_list list = dlsym(object, symbol);
    dlclose(object); /* RTLD_NODELETE: only the count goes down */
    if (!list) {
        lua_pushfstring(L, "load %s: it exports no '%s'", path, symbol);
        return fail(L, "EINVAL");
    }
    if (vmctl_pb_register(L, lua_upvalueindex(TYPES), list, VMCTL_PB_WITH_FIELDS) < 0) {
        lua_pushfstring(L, "load %s: %s", path, lua_tostring(L, -1));
        return fail(L, "EINVAL");
    }
    push_listed(L, list);
    return 1;
}
#endif

int luaopen_vmctl_pb(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode", l_encode }, { "decode", l_decode }, { "exists", l_exists }, { "names", l_names },
        { "fields", l_fields }, { "load", l_load },     { "define", l_define }, { NULL, NULL },
    };
    luaL_newlibtable(L, functions);
    lua_newtable(L);
    if (vmctl_pb_register(L, -1, vmctl_pb_builtin, VMCTL_PB_WITH_FIELDS) < 0)
        return lua_error(L);
    vmctl_pb_offer_envelopes(L);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
