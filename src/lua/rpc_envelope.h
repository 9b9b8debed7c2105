/* The interface of vmctl.pb, a separate shared object, to the core: requests and answers of ttrpc, from Lua tables to bytes and
 * back, with no string and no envelope's table in between. It handles the common cases; it refuses the others, with nothing done,
 * and Lua then handles those, with its own errors. */
#ifndef VMCTL_LUA_RPC_ENVELOPE_H
#define VMCTL_LUA_RPC_ENVELOPE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMCTL_ENVELOPES "vmctl.envelopes" /* key in the registry: a light userdata, a const struct vmctl_envelopes */

/* Takes the bytes of an envelope, which are gone afterwards. False: they were not taken. */
typedef bool (*vmctl_envelope_sink)(void *to, const uint8_t *bytes, size_t len);

struct vmctl_envelope {
    const void *type;     /* of the message in it */
    int message_at;       /* stack slot of its table */
    int service, method;  /* stack slots of strings; of a request */
    int64_t timeout_nano; /* 0: none */
};

struct vmctl_envelopes {
    /* The message type whose full name is in a stack slot; NULL: there is none. */
    const void *(*type)(lua_State *L, int name_at);

    /* Makes the envelope of a request, and of a successful answer. False: refused, or not taken. */
    bool (*put_request)(lua_State *L, const struct vmctl_envelope *e, vmctl_envelope_sink sink, void *to);
    bool (*put_answer)(lua_State *L, const struct vmctl_envelope *e, vmctl_envelope_sink sink, void *to);

    /* Pushes payload, service, method and timeout_nano of a request without metadata: 4. 0: refused. The bytes are read
     * before Lua allocates anything, here and below. */
    int (*push_request)(lua_State *L, const uint8_t *bytes, size_t len);

    /* Pushes the message of a successful answer, as a table: 1. 0: refused; -1: its bytes are not of that type, and why was
     * pushed, a string. */
    int (*push_answer)(lua_State *L, const void *type, const uint8_t *bytes, size_t len);
};

/* Those of vmctl.pb; NULL where it was not loaded. */
static inline const struct vmctl_envelopes *vmctl_envelopes_get(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, VMCTL_ENVELOPES);
    const struct vmctl_envelopes *made = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return made;
}

#endif
