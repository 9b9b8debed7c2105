/* Bytes of a file as a frame of a stream, by splice: they are never in this process' memory. */
#include "io/sysio.h"
#include "lua/check.h"
#include "lua/classes.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/park.h"
#include "lua/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_PIPE "vmctl.FilePipe"

enum {
    F_TYPE = 2, F_FILE, F_MOST, F_TIMEOUT, F_PIPE, /* slots */
    FILE_HEAD = 5,                                 /* of the payload: a zero byte, and the number of bytes */
    FILE_LEAST = 128 * 1024,                       /* bytes: a pipe for fewer costs more than it saves */
    FILE_MOST = 1024 * 1024                        /* bytes: the limit for pipes of ordinary users */
};

/* Holds the bytes of the file between its pages and the socket, so that their number is known before the header is sent. */
struct file_pipe {
    int in, out;
    size_t left;
};

static int l_pipe_close(lua_State *L)
{
    struct file_pipe *p = luaL_checkudata(L, 1, FILE_PIPE);
    if (p->in >= 0)
        close(p->in);
    if (p->out >= 0)
        close(p->out);
    p->in = p->out = -1;
    return 0;
}

/* At least FILE_LEAST bytes lie behind the file's position. */
static bool file_has_much(int fd, size_t most)
{
    struct stat st;
    off_t at = lseek(fd, 0, SEEK_CUR);
    return most >= FILE_LEAST && at >= 0 && fstat(fd, &st) == 0 && st.st_size - at >= FILE_LEAST;
}

/* Moves bytes of the file into a pipe in slot F_PIPE. False: none were moved. */
static bool file_fill_pipe(lua_State *L, int fd, size_t most)
{
    struct file_pipe *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct file_pipe){ .in = -1, .out = -1 };
    luaL_setmetatable(L, FILE_PIPE);
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    p->out = fds[0];
    p->in = fds[1];
    if (fcntl(p->in, F_SETPIPE_SZ, FILE_MOST) < (int)most)
        return false;
    while (p->left < most) {
        ssize_t n = splice(fd, NULL, p->in, NULL, most - p->left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        p->left += (size_t)n;
    }
    return p->left > 0;
}

/* 0, -EAGAIN, or an error. */
static int file_splice(struct vmctl_stream *s, struct file_pipe *p)
{
    struct vmctl_sigpipe guard;
    vmctl_sigpipe_block(&guard);
    int err = 0;
    while (p->left && !err) {
        ssize_t n = splice(p->out, NULL, s->wfd, NULL, p->left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n > 0) {
            p->left -= (size_t)n;
            s->bytes_out += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            err = n ? -errno : -EPIPE;
        }
    }
    vmctl_sigpipe_restore(&guard, err == -EPIPE);
    return err;
}

/* Queues the rest, as the rest of any frame that is not written in time. */
static void file_queue_rest(struct vmctl_stream *s, struct file_pipe *p)
{
    while (p->left && !s->werr) {
        ssize_t n = read(p->out, s->loop->scratch, p->left < VMCTL_SCRATCH ? p->left : VMCTL_SCRATCH);
        struct iovec iov = { s->loop->scratch, n > 0 ? (size_t)n : 0 };
        int err = n > 0 ? vmctl_stream_send(s, &iov, 1) : n < 0 && errno == EINTR ? 0 : -EIO;
        if (err && !s->werr)
            s->werr = err; /* a part of the frame is written */
        p->left -= iov.iov_len;
    }
}

static int file_frame_send(lua_State *L, int status, lua_KContext ctx)
{
    struct vmctl_lua_stream *ls = vmctl_stream_checked(L);
    struct vmctl_stream *s = &ls->s;
    struct vmctl_lua *st = vmctl_stream_state(s);
    struct file_pipe *p = lua_touserdata(L, F_PIPE);
    int why = status == LUA_YIELD ? vmctl_why(st, L) : 0;
    while (!why) {
        why = s->werr;
        if (why || (!p->left && !vmctl_buf_len(&s->out)))
            break;
        int err = vmctl_buf_len(&s->out) ? -EAGAIN : file_splice(s, p);
        if (err == -EAGAIN) {
            if (!vmctl_buf_len(&s->out))
                vmctl_io_start(s->loop, &s->wio);
            if (status == LUA_OK)
                vmctl_set_deadline(st, L, F_TIMEOUT, ls->write_timeout);
            return vmctl_park(st, L, &s->writers, F_TIMEOUT, status, ctx, file_frame_send);
        }
        if (err)
            file_queue_rest(s, p);
    }
    file_queue_rest(s, p);
    lua_settop(L, F_PIPE);
    lua_pushcfunction(L, l_pipe_close);
    lua_pushvalue(L, F_PIPE);
    lua_call(L, 1, 0);
    if (why)
        return vmctl_fail(L, why, "write %s", vmctl_stream_name(s));
    lua_pushboolean(L, 1);
    return 1;
}

/* True for a stream whose frames have a type and a length, on a socket that takes bytes at once. */
static bool file_frame_fits(const struct vmctl_stream *s)
{
    return s->kind == VMCTL_STREAM_SOCKET && s->wfd >= 0 && !s->werr && !s->shutting && !s->corked && !vmctl_buf_len(&s->out) &&
           !vmctl_stream_traced(s) && s->format.type_size && !s->format.stream_size && !s->format.flags_size;
}

/* s:write_file_frame(type, file, most, [timeout]) -> true; false: nothing was read or written, the caller has to read and write it */
int vmctl_l_write_file_frame(lua_State *L)
{
    struct vmctl_stream *s = &vmctl_stream_check(L, 1)->s;
    vmctl_frame_need_format(L, s);
    uint32_t type = (uint32_t)vmctl_check_range(L, F_TYPE, 0, s->format.type_size == 1 ? UINT8_MAX : UINT16_MAX);
    int fd = vmctl_file_quick(L, F_FILE);
    size_t most = (size_t)vmctl_check_range(L, F_MOST, 0, UINT32_MAX);
    most = most < FILE_MOST ? most : FILE_MOST;
    lua_settop(L, F_TIMEOUT);
    int busy = vmctl_stream_busy(L, s, &s->writers, "write");
    if (busy)
        return busy;
    if (fd < 0 || !file_frame_fits(s) || !file_has_much(fd, most) || !file_fill_pipe(L, fd, most)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    struct file_pipe *p = lua_touserdata(L, F_PIPE);
    struct vmctl_frame frame = { .type = type, .size = FILE_HEAD + p->left };
    uint8_t head[VMCTL_FRAME_HEAD_MAX + FILE_HEAD];
    size_t n = vmctl_frame_put_head(&s->format, head, &frame);
    head[n++] = 0;
    for (int shift = 24; shift >= 0; shift -= 8)
        head[n++] = (uint8_t)(p->left >> shift);
    struct iovec iov = { head, n };
    int err = vmctl_stream_send(s, &iov, 1);
    if (err)
        return vmctl_fail(L, err, "write %s", vmctl_stream_name(s));
    return file_frame_send(L, LUA_OK, 0);
}

void vmctl_stream_file_frame_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg meta[] = { { "__gc", l_pipe_close }, { NULL, NULL } };
    vmctl_class(L, FILE_PIPE, none, meta);
}
