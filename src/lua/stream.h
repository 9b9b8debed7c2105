/* Streams and frame formats as the other files of this room use them. */
#ifndef VMCTL_LUA_STREAM_H
#define VMCTL_LUA_STREAM_H

#include "io/process.h"
#include "io/stream.h"
#include "lua/classes.h"
#include "lua/park.h"

/* The userdata: a stream and its time-outs. User values: see below. */
struct vmctl_lua_stream {
    const void *mark;                   /* identifies a stream without a look at the registry: see vmctl_stream_check */
    struct vmctl_stream s;
    double read_timeout, write_timeout; /* seconds, for calls that give none */
    struct vmctl_process *child;        /* whose stdin and stdout it is, and which ends with it; else NULL */
};

/* User values: the format; the relay that has taken the descriptor. */
enum { VMCTL_STREAM_FORMAT = 1, VMCTL_STREAM_RELAY = 2, VMCTL_STREAM_VALUES = 2 };

/* Pushes a closed stream. */
struct vmctl_stream *vmctl_stream_new(lua_State *L, struct vmctl_lua *st);

struct vmctl_lua_stream *vmctl_stream_check(lua_State *L, int arg);

/* The stream in slot 1, for code that runs only after vmctl_stream_check has seen it: continuations, and the halves of a call. */
static inline struct vmctl_lua_stream *vmctl_stream_checked(lua_State *L)
{
    return lua_touserdata(L, 1);
}

/* Gives a stream the name that errors show. */
void vmctl_stream_label(struct vmctl_stream *s, const char *label);
const char *vmctl_stream_name(const struct vmctl_stream *s);

/* The format at `arg` (a userdata, or a table that is compiled); leaves its userdata on the stack. */
const struct vmctl_frame_format *vmctl_format_check(lua_State *L, int arg);

/* In stream_read.c and stream_write.c */
int vmctl_l_read(lua_State *L);
int vmctl_l_read_exact(lua_State *L);
int vmctl_l_read_line(lua_State *L);
int vmctl_l_skip_past(lua_State *L);
int vmctl_l_skip_frame(lua_State *L);
int vmctl_l_read_skipped(lua_State *L);
int vmctl_l_write_file_frame(lua_State *L);
void vmctl_stream_file_frame_register(lua_State *L);
int vmctl_l_write(lua_State *L);
int vmctl_l_flush(lua_State *L);
int vmctl_l_shutdown(lua_State *L);
int vmctl_l_cork(lua_State *L);

/* In stream_frame.c and stream_frame_write.c */
int vmctl_l_read_frame(lua_State *L);
int vmctl_l_read_frames(lua_State *L);
int vmctl_l_write_frame(lua_State *L);
int vmctl_l_write_frames(lua_State *L);

/* Raises unless the stream has a format. */
void vmctl_frame_need_format(lua_State *L, const struct vmctl_stream *s);

/* A call that reads, as its continuation `k` sees it. */
struct vmctl_reading {
    int status;         /* LUA_OK or LUA_YIELD */
    int at;             /* slot of the time-out, or of the deadline */
    lua_KContext ctx;
    lua_KFunction k;
    bool at_hand;       /* take present bytes, and do not wait */
    int results;        /* when nothing was read: what k returns */
};

/* True if a call with time-out 0 must ask the kernel, even if that seemed to have no more. */
bool vmctl_stream_asks(lua_State *L, const struct vmctl_reading *r);

/* Takes the first frame off the input of the stream in slot 1. Its body stays until Lua allocates: then a finalizer may read from the
 * stream. False: k returns r->results; with `at_hand` those are VMCTL_NO_FRAME when there is none yet. */
bool vmctl_frame_read(lua_State *L, struct vmctl_lua_stream *ls, struct vmctl_reading *r, struct vmctl_frame *frame);

enum { VMCTL_NO_FRAME = -1 };

/* Pushes a frame as read_frame returns it: the number of values. */
int vmctl_frame_push(lua_State *L, const struct vmctl_frame_format *f, const struct vmctl_frame *frame);

/* In stream_trace.c. Each does nothing unless there is a hook. The stream is in slot 1 where no other is named. */
void vmctl_trace_open(lua_State *L, const struct vmctl_stream *s, int stream_at, const char *how);
void vmctl_trace_bytes(lua_State *L, const struct vmctl_stream *s, const char *event, int bytes_at);
void vmctl_trace_frame(lua_State *L, const struct vmctl_stream *s, const char *event, const struct vmctl_frame *frame,
                       int payload_at);
void vmctl_trace_end(lua_State *L, const struct vmctl_stream *s, const char *event, int err);
void vmctl_trace_close(lua_State *L, const struct vmctl_stream *s, const char *event);
void vmctl_trace_counts(lua_State *L, const struct vmctl_stream *s, int stream_at, const char *event, uint64_t in,
                        uint64_t out);

/* How a read that got nothing ends: parks for `need` bytes, or fails for good. */
int vmctl_stream_await(lua_State *L, struct vmctl_lua_stream *ls, size_t need, const struct vmctl_reading *r);

/* Fails unless the direction is free: 0, or the number of results of the failure. */
int vmctl_stream_busy(lua_State *L, struct vmctl_stream *s, struct vmctl_waitq *q, const char *what);

static inline struct vmctl_lua *vmctl_stream_state(const struct vmctl_stream *s)
{
    return VMCTL_CONTAINER(s->loop, struct vmctl_lua, loop);
}

static inline bool vmctl_stream_traced(const struct vmctl_stream *s)
{
    return vmctl_stream_state(s)->traced;
}

/* True if a call that has just begun must let other tasks run first. */
static inline bool vmctl_stream_pauses(lua_State *L, const struct vmctl_stream *s, int status)
{
    return status == LUA_OK && vmctl_must_pause(vmctl_stream_state(s), L);
}

/* How each function that reads begins: false if it has to return r->results at once, to let others run first, or because a
 * line or a frame over its limit lies in the way. It lets others run only if the call has not consumed anything yet: its context
 * is lost. */
bool vmctl_stream_read_held(lua_State *L, struct vmctl_stream *s, struct vmctl_reading *r, bool pauses);

static inline bool vmctl_stream_read_begin(lua_State *L, struct vmctl_stream *s, struct vmctl_reading *r)
{
    bool pauses = !r->ctx && vmctl_stream_pauses(L, s, r->status);
    return (!pauses && s->rerr != VMCTL_ETOOBIG) || vmctl_stream_read_held(L, s, r, pauses);
}

#endif
