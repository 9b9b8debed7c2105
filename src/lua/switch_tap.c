/* vmctl.Tap: copies of all frames that come into a switch, for Lua. Frames that Lua has not fetched wait in a bounded buffer; when
 * that is full the switch reads no more until there is room, or, if the tap is lossy, frames are left out and counted. */
#include "io/pcap_filter.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/park.h"
#include "lua/switch.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define VMCTL_TAP "vmctl.Tap"

enum { TAP_HEAD = 8 }; /* before each frame: its length and its port, 4 bytes each in our own order */

struct lua_tap {
    struct vmctl_switch_watcher watcher;
    struct vmctl_switch *sw;   /* NULL once it is closed */
    struct vmctl_buf frames;   /* used inside the switch only */
    struct vmctl_buf taken;    /* used by Lua only: frames that were in `frames` before */
    size_t left;               /* bytes in `taken`, when the switch was last left */
    size_t most;
    bool lossy, full;
    uint64_t taken_from;       /* the serial of the port whose frames it takes; 0: it takes none, and sees all */
    struct vmctl_fault only;   /* which of them */
    uint64_t lost;
    struct vmctl_waitq readers;
};

static size_t tap_waiting(const struct lua_tap *t)
{
    return vmctl_buf_len(&t->frames) + t->left;
}

static void tap_saw(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    struct lua_tap *t = VMCTL_CONTAINER(w, struct lua_tap, watcher);
    /* not lossy: a read's worth of frames finds room even if it is full by then; nothing is read after that */
    if ((t->lossy && tap_waiting(t) >= t->most) || vmctl_buf_reserve(&t->frames, TAP_HEAD + len) != 0) {
        t->lost++;
        return;
    }
    uint32_t head[2] = { (uint32_t)len, (uint32_t)from->index };
    vmctl_buf_append(&t->frames, head, sizeof head);
    vmctl_buf_append(&t->frames, frame, len);
}

/* Tells if the tap takes the frame. Counts frames that match, as a fault does. */
static bool tap_takes(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    struct lua_tap *t = VMCTL_CONTAINER(w, struct lua_tap, watcher);
    if (from->serial != t->taken_from || !vmctl_fault_is_hit(&t->only, frame, len))
        return false;
    tap_saw(w, from, frame, len);
    return true;
}

static void tap_ignores(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len)
{
    (void)w, (void)from, (void)frame, (void)len;
}

static bool tap_pause(struct vmctl_switch_watcher *w)
{
    struct lua_tap *t = VMCTL_CONTAINER(w, struct lua_tap, watcher);
    if (vmctl_buf_len(&t->frames))
        vmctl_switch_tell(t->sw, VMCTL_TOLD_FRAMES);
    t->full = !t->lossy && tap_waiting(t) >= t->most;
    return t->full;
}

static void tap_hear(struct vmctl_switch_watcher *w)
{
    struct lua_tap *t = VMCTL_CONTAINER(w, struct lua_tap, watcher);
    if (vmctl_buf_len(&t->frames))
        vmctl_wake_all(&t->readers, 0);
}

static void tap_end(struct lua_tap *t)
{
    t->sw = NULL;
    vmctl_buf_free(&t->frames);
    vmctl_buf_free(&t->taken);
    vmctl_pcap_filter_free(t->only.only.filter);
    t->only.only.filter = NULL;
    vmctl_wake_all(&t->readers, 0);
}

static void tap_over(struct vmctl_switch_watcher *w)
{
    tap_end(VMCTL_CONTAINER(w, struct lua_tap, watcher));
}

/* Makes the tap take frames of the port at `arg`: those that the fault in the next argument would hit. */
static void tap_take_from(lua_State *L, struct lua_tap *t, int arg)
{
    lua_Integer index = luaL_checkinteger(L, arg);
    luaL_argcheck(L, index >= 0 && index < t->sw->ports && t->sw->port[index], arg, "no such port");
    if (vmctl_switch_fault_check(L, arg + 1, &t->only) == NULL)
        t->only = (struct vmctl_fault){ 0 };
    t->taken_from = t->sw->port[index]->serial;
    t->watcher.take = tap_takes;
    t->watcher.saw = tap_ignores;
}

/* sw:tap(bytes, lossy, port or nil, fault) -> tap; its user value keeps the switch. With a port it takes frames out of the switch */
int vmctl_l_tap(lua_State *L)
{
    struct vmctl_switch *sw = vmctl_switch_check(L, 1);
    lua_Integer most = luaL_checkinteger(L, 2);
    luaL_argcheck(L, most > 0 && most <= INT32_MAX, 2, "a number of bytes expected");
    lua_settop(L, 5);
    struct lua_tap *t = lua_newuserdatauv(L, sizeof *t, 1);
    memset(t, 0, sizeof *t);
    vmctl_waitq_init(&t->readers);
    luaL_setmetatable(L, VMCTL_TAP);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    t->sw = sw;
    t->most = (size_t)most;
    t->lossy = lua_toboolean(L, 3);
    t->watcher.saw = tap_saw;
    t->watcher.pause = tap_pause;
    t->watcher.hear = tap_hear;
    t->watcher.over = tap_over;
    vmctl_buf_init(&t->frames, t->most + VMCTL_SCRATCH * 2 + TAP_HEAD * (VMCTL_SCRATCH / VMCTL_ETHER_MIN));
    vmctl_buf_init(&t->taken, t->frames.max);
    if (!lua_isnoneornil(L, 4)) {
        tap_take_from(L, t, 4);
        t->lossy = true;
    }
    vmctl_switch_watch(sw, &t->watcher);
    return 1;
}

/* Tells the switch what Lua has taken; it goes on when half of the room is free. */
static void tap_account(struct lua_tap *t)
{
    vmctl_switch_enter(t->sw);
    t->left = vmctl_buf_len(&t->taken);
    if (t->full && tap_waiting(t) <= t->most / 2) {
        t->full = false;
        vmctl_switch_resume(t->sw);
    }
    vmctl_switch_leave(t->sw);
}

/* Takes new frames, if none are left of those that were taken before. True: there are frames for Lua. */
static bool tap_has_frames(struct lua_tap *t)
{
    if (vmctl_buf_len(&t->taken))
        return true;
    vmctl_switch_enter(t->sw);
    struct vmctl_buf empty = t->taken;
    t->taken = t->frames;
    t->frames = empty;
    t->left = vmctl_buf_len(&t->taken);
    vmctl_switch_leave(t->sw);
    return t->left > 0;
}

/* Frames and their ports into two arrays, `most` at the most. Making a string may run a finalizer that closes the tap: each
 * frame is consumed before its string is made, and the buffer looked at anew for the next. */
static void tap_take(lua_State *L, struct lua_tap *t, lua_Integer most)
{
    lua_newtable(L);
    lua_newtable(L);
    for (lua_Integer n = 1; n <= most && vmctl_buf_len(&t->taken); n++) {
        uint32_t head[2];
        memcpy(head, vmctl_buf_head(&t->taken), sizeof head);
        const char *frame = (const char *)vmctl_buf_head(&t->taken) + TAP_HEAD;
        vmctl_buf_consume(&t->taken, TAP_HEAD + head[0]);
        lua_pushlstring(L, frame, head[0]);
        lua_rawseti(L, -3, n);
        lua_pushinteger(L, head[1]);
        lua_rawseti(L, -2, n);
    }
}

/* tap:recv_many([most], [timeout]) -> frames, ports */
static int tap_recv(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_tap *t = luaL_checkudata(L, 1, VMCTL_TAP);
    struct vmctl_lua *st = vmctl_lua_get(L);
    if (!t->sw)
        return vmctl_fail(L, VMCTL_ECLOSED, "read a tap");
    if (status == LUA_OK && vmctl_must_pause(st, L))
        return vmctl_pause_before(st, L, tap_recv);
    if (!tap_has_frames(t)) {
        int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
        if (why)
            return vmctl_fail(L, why, "read a tap");
        if (vmctl_waitq_busy(&t->readers))
            return vmctl_fail_text(L, -EBUSY, "read a tap: another task reads it");
        if (status == LUA_OK)
            vmctl_set_deadline(st, L, 3, INFINITY);
        return vmctl_park(st, L, &t->readers, 3, status, ctx, tap_recv);
    }
    tap_take(L, t, lua_tointeger(L, 2));
    if (t->sw)
        tap_account(t);
    return 2;
}

static int l_tap_recv(lua_State *L)
{
    luaL_checkudata(L, 1, VMCTL_TAP);
    lua_settop(L, 3);
    lua_Integer most = luaL_optinteger(L, 2, 256);
    luaL_argcheck(L, most > 0, 2, "a number above 0 expected");
    lua_pushinteger(L, most);
    lua_replace(L, 2);
    return tap_recv(L, LUA_OK, 0);
}

static uint64_t lost_by_now(struct vmctl_switch *sw, const struct lua_tap *t)
{
    vmctl_switch_enter(sw);
    uint64_t lost = t->lost;
    vmctl_switch_leave(sw);
    return lost;
}

static int l_tap_lost(lua_State *L)
{
    const struct lua_tap *t = luaL_checkudata(L, 1, VMCTL_TAP);
    lua_pushinteger(L, (lua_Integer)(t->sw ? lost_by_now(t->sw, t) : t->lost));
    return 1;
}

static int l_tap_close(lua_State *L)
{
    struct lua_tap *t = luaL_checkudata(L, 1, VMCTL_TAP);
    if (!t->sw)
        return 0;
    struct vmctl_switch *sw = t->sw;
    vmctl_switch_enter(sw);
    vmctl_switch_unwatch(sw, &t->watcher);
    if (t->full)
        vmctl_switch_resume(sw);
    tap_end(t);
    vmctl_switch_leave(sw);
    return 0;
}

void vmctl_tap_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "recv_many", l_tap_recv }, { "lost", l_tap_lost }, { "close", l_tap_close }, { NULL, NULL }
    };
    static const luaL_Reg meta[] = { { "__gc", l_tap_close }, { "__close", l_tap_close }, { NULL, NULL } };
    vmctl_class(L, VMCTL_TAP, methods, meta);
}
