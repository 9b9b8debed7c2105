/* The environment of a child, made of ours and of the variables that it is given. */
#include "lua/process_options.h"

#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

extern char **environ;

/* NAME=VALUE texts, and a set of those whose names are taken: an open hash table, at most half full. */
struct env_list {
    char **all, **slots;
    size_t count, mask;
};

static size_t env_hash(const char *text, size_t name)
{
    uint32_t h = 2166136261U; /* FNV-1a: the names are ours, or their number is small */
    for (size_t i = 0; i < name; i++)
        h = (h ^ (uint8_t)text[i]) * 16777619U;
    return h;
}

/* Adds a text. False: there is one of that name already. */
static bool env_take(const struct env_list *e, char *text, size_t name)
{
    size_t i = env_hash(text, name) & e->mask;
    while (e->slots[i]) {
        if (strncmp(e->slots[i], text, name + 1) == 0) /* with the '=' */
            return false;
        i = (i + 1) & e->mask;
    }
    e->slots[i] = text;
    return true;
}

/* Checks the pair on top of the stack: a name and a string, a number, or false for a variable that the child shall not have. Returns the
 * bytes of NAME=VALUE and its NUL. A number becomes a string. */
static size_t env_check(lua_State *L)
{
    size_t name, value = 0;
    if (lua_type(L, -2) != LUA_TSTRING || !(lua_isstring(L, -1) || (lua_isboolean(L, -1) && !lua_toboolean(L, -1))))
        luaL_error(L, "env: strings expected");
    const char *key = lua_tolstring(L, -2, &name), *text = lua_tolstring(L, -1, &value);
    if (strlen(key) != name || (text && strlen(text) != value))
        luaL_error(L, "env: a string with a NUL byte");
    return name + value + 2;
}

static void env_measure(lua_State *L, size_t *count, size_t *bytes)
{
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        *bytes += env_check(L);
        ++*count;
        lua_pop(L, 1);
    }
}

static void env_add_given(lua_State *L, struct env_list *e, char *text)
{
    lua_pushnil(L);
    while (lua_next(L, -3)) { /* below it: the block */
        size_t name, value = 0;
        const char *key = lua_tolstring(L, -2, &name), *what = lua_tolstring(L, -1, &value);
        memcpy(text, key, name);
        text[name] = '=';
        if (what)
            memcpy(text + name + 1, what, value);
        text[name + 1 + value] = '\0';
        if (env_take(e, text, name) && what)
            e->all[e->count++] = text;
        text += name + value + 2;
        lua_pop(L, 1);
    }
}

/* Adds ours from the last one on, which counts where two have one name. */
static void env_add_ours(struct env_list *e, size_t ours)
{
    while (ours-- > 0) {
        const char *equals = strchr(environ[ours], '=');
        if (equals && equals > environ[ours] && env_take(e, environ[ours], (size_t)(equals - environ[ours])))
            e->all[e->count++] = environ[ours];
    }
}

char *const *vmctl_field_env(lua_State *L, bool alone)
{
    if (lua_getfield(L, 1, "env") != LUA_TTABLE) {
        if (!alone)
            return environ;
        lua_pop(L, 1);
        lua_newtable(L);
    }
    size_t ours = 0, given = 0, bytes = 0, slots = 4;
    while (!alone && environ && environ[ours])
        ours++;
    env_measure(L, &given, &bytes);
    while (slots < 2 * (ours + given))
        slots *= 2;
    char **block = lua_newuserdatauv(L, (ours + given + 1 + slots) * sizeof *block + bytes, 0);
    struct env_list e = { .all = block, .slots = block + ours + given + 1, .mask = slots - 1 };
    memset(e.slots, 0, slots * sizeof *e.slots);
    env_add_given(L, &e, (char *)(e.slots + slots));
    env_add_ours(&e, ours);
    e.all[e.count] = NULL;
    lua_remove(L, -2);
    return e.all;
}
