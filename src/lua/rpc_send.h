/* Shared by both ends of calls over a framed stream: rpc_calls.c and rpc_requests.c. */
#ifndef VMCTL_LUA_RPC_SEND_H
#define VMCTL_LUA_RPC_SEND_H

#include "lua/rpc_envelope.h"
#include "lua/stream.h"

/* True if a frame can be added to the corked output now, without a wait and without a trace. */
static inline bool vmctl_exchange_open(const struct vmctl_stream *s)
{
    return s->corked && !s->werr && !s->shutting && !vmctl_waitq_busy(&s->writers) && !vmctl_stream_traced(s) &&
           vmctl_buf_len(&s->out) < VMCTL_STREAM_CORK;
}

/* A vmctl_envelope_sink: where the bytes of an envelope go. */
struct vmctl_exchange_sink {
    struct vmctl_stream *s;
    struct vmctl_frame frame; /* without its size */
};

static inline bool vmctl_exchange_send(void *to, const uint8_t *bytes, size_t len)
{
    struct vmctl_exchange_sink *sink = to;
    if (len >= VMCTL_STREAM_CORK)
        return false;
    sink->frame.size = len;
    return vmctl_stream_send_frame(sink->s, &sink->frame, bytes) == 0;
}

#endif
