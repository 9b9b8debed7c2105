/* An Ethernet switch between QEMU's stream sockets (docs/wire/qemu-l2.md#framing): frames go from socket to socket, out of the memory
 * where they were read, with one write for each port that gets frames of a read. It learns addresses, floods, applies faults, and
 * lets no port delay another. */
#ifndef VMCTL_IO_SWITCH_H
#define VMCTL_IO_SWITCH_H

#include "io/switch_impairment.h"
#include "io/loop.h"
#include "io/switch_macs.h"
#include "io/switch_queue.h"
#include "io/wait.h"
#include "wire/buf.h"
#include "wire/ether.h"

#include <sys/uio.h>

enum {
    VMCTL_SWITCH_PORTS = 256,
    VMCTL_SWITCH_NAME = 64,                 /* bytes of a port's name, with its NUL */
    VMCTL_SWITCH_RUNS = 64,                 /* pieces of a read that one write takes to a port */
    VMCTL_SWITCH_QUEUE = 1024 * 1024,       /* bytes that wait for a port, by default */
    VMCTL_SWITCH_MEMORY = 64 * 1024 * 1024, /* bytes that wait in queues, in all; and as many of delayed frames */
    VMCTL_SWITCH_NOTE = 1024,               /* bytes */
    VMCTL_SWITCH_LONGEST = 65535,           /* bytes of a frame to a port, by default: pktkit ends at longer ones */
    VMCTL_SWITCH_AGE = 300                  /* seconds, as bridges have it */
};

/* Seconds for which a sender that sends to others as well is held back for a port, at first. */
#define VMCTL_SWITCH_BUDGET 0.2

struct vmctl_switch;
struct vmctl_switch_thread;

enum vmctl_switch_told { VMCTL_TOLD_NEWS = 1, VMCTL_TOLD_FRAMES = 2 };

struct vmctl_switch_counts {
    uint64_t frames_in, bytes_in, frames_out, bytes_out;
    uint64_t dropped_full;      /* for it: its queue, or the room for delayed frames, was full, or it was not connected */
    uint64_t dropped_long;      /* for it: longer than it takes */
    uint64_t dropped_link;      /* sent by it to a group of its link alone, or from a group's address */
    uint64_t dropped_cut, dropped_loss, dropped_rate; /* sent by it, and dropped by a fault, or on the way to another group */
    uint64_t invalid;           /* frames of it with a length that would harm their receiver */
    uint64_t duplicated, corrupted, delayed, flooded;
};

/* Of frames from one port to another. */
struct vmctl_switch_pair {
    struct vmctl_fault *fault;  /* NULL: none */
    uint64_t frames, bytes, dropped;
    size_t delayed, delayed_bytes; /* of delayed frames: their number and bytes */
};

/* The addresses of a port's last frame, for the next one: valid while the table of addresses does not change. */
struct vmctl_switch_recent {
    uint64_t source, to;        /* keys of the table */
    int port;                   /* of `to`; -1: unknown */
    uint32_t seconds, changes;
};

/* Frames that follow each other in memory, and have the same destination. */
struct vmctl_switch_run {
    struct vmctl_switch_port *from;
    int to;                     /* -1: all others */
    const uint8_t *at;
    size_t total, frames;       /* bytes, with lengths; 0: there is no run */
    size_t longest;             /* bytes of the longest frame */
};

enum vmctl_port_kind {
    VMCTL_PORT_STREAM,  /* frames with their lengths, as QEMU's stream sockets have them */
    VMCTL_PORT_PACKETS, /* a socket of type SOCK_SEQPACKET: a packet is a frame */
    VMCTL_PORT_DATAGRAMS, /* a bound socket of type SOCK_DGRAM: switch_datagrams.h */
    VMCTL_PORT_TAP      /* a TAP device: a read or a write is a frame */
};

struct vmctl_switch_port {
    struct vmctl_switch *sw;
    int index;                  /* in sw->port */
    uint64_t serial;            /* no other port of this switch ever has it */
    char name[VMCTL_SWITCH_NAME];
    int fd;                     /* -1: not connected (a port that is dialled again keeps its number) */
    enum vmctl_port_kind kind;
    struct vmctl_switch_datagrams *datagrams; /* of that kind; NULL: of another */
    unsigned group;             /* frames pass between ports of one group */
    ev_io rio, wio;
    struct vmctl_buf part;      /* the beginning of a frame whose rest has not come */
    struct vmctl_switch_share *share[VMCTL_SWITCH_PORTS]; /* waiting frames of each sender; NULL: there never were any */
    struct vmctl_list turns;    /* of the shares that have frames, in the order in which they are sent */
    unsigned senders;           /* number of those */
    size_t queued, queue_max;   /* bytes that wait, and their limit */
    size_t longest;             /* bytes of a frame that it takes */
    size_t room;                /* bytes of its next read */
    uint64_t sent;              /* bytes that have left the queue */
    uint64_t mark;              /* `sent` at progress_at */
    double progress_at;         /* when its queue was last empty, or had last made progress */
    int run_from[VMCTL_SWITCH_RUNS]; /* the sender of each run */
    struct iovec run[VMCTL_SWITCH_RUNS]; /* of the present read, to be sent at its end */
    int runs;
    bool touched;               /* in sw->touched */
    struct vmctl_switch_recent recent;
    int last_to;                /* the receiver of its last frame to one address */
    size_t streak;              /* bytes to one address, since one went elsewhere */
    unsigned held;              /* number of ports for which it is held back: not read */
    bool paused;                /* not read for now: a watcher is full */
    bool complained;            /* an invalid frame of this connection was reported */
    struct vmctl_fault *from, *to; /* of all frames that it sends, of all that it gets; NULL: none */
    struct vmctl_switch_pair *pair; /* by the other port's index */
    struct vmctl_switch_counts count;
    int ended;                  /* the reason of its connection's end: VMCTL_EOF, VMCTL_ETOOBIG …; 0 while there is one */
};

struct vmctl_delayed;

struct vmctl_switch {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    struct vmctl_switch_thread *thread; /* NULL: it is on its owner's loop, in its owner's thread */
    struct vmctl_switch_port *port[VMCTL_SWITCH_PORTS]; /* NULL: no such port */
    int ports;                  /* the highest index in use, plus 1 */
    int touched[VMCTL_SWITCH_PORTS], ntouched;
    int mirror;                 /* the port that gets a copy of every frame that comes in, and nothing else; -1: none */
    struct vmctl_mac_table macs;
    struct vmctl_switch_run run; /* of the present read */
    uint64_t seed;
    struct vmctl_delayed **delayed; /* a heap by time */
    size_t ndelayed, delayed_size, delayed_bytes, delayed_max;
    uint64_t delayed_serial, port_serial;
    struct vmctl_timer release; /* of the first delayed frame */
    size_t queued, queued_max;  /* bytes in all queues */
    struct vmctl_list holds;    /* of struct vmctl_switch_share */
    struct vmctl_timer hold_timer; /* of the first of them that ends */
    struct vmctl_waitq news;    /* woken when a connection ends, or brings its first invalid frame */
    double now;                 /* of the present read */
    struct vmctl_switch_watcher *watchers;
    bool taking;                /* a watcher may take frames */
    bool noting;                /* a watcher wants notes */
    size_t note_len;
    char note[VMCTL_SWITCH_NOTE]; /* the effects of the faults on the present frame */
};

/* Sees each frame once, as it came in, when its receivers are known. */
struct vmctl_switch_watcher {
    struct vmctl_switch_watcher *next;
    bool wants_notes;
    bool (*take)(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len);
                                                   /* true: it goes no further. May be NULL */
    void (*saw)(struct vmctl_switch_watcher *w, const struct vmctl_switch_port *from, const uint8_t *frame, size_t len);
    bool (*pause)(struct vmctl_switch_watcher *w); /* the end of a read; true: read no more for now. May be NULL */
    void (*hear)(struct vmctl_switch_watcher *w);  /* on the owner's loop, after VMCTL_TOLD_FRAMES. May be NULL */
    void (*over)(struct vmctl_switch_watcher *w);  /* the switch is closed, and watched no more */
};

void vmctl_switch_init(struct vmctl_switch *sw, struct vmctl_loop *loop, uint64_t seed);

/* switch_thread.c. The owner calls these around each use of a switch that has a thread; without one they do nothing. They nest. */
void vmctl_switch_enter(struct vmctl_switch *sw);
void vmctl_switch_leave(struct vmctl_switch *sw);

/* Tells the owner, in its own thread: wakes tasks that wait for news, or lets the watchers wake their waiters. */
void vmctl_switch_tell(struct vmctl_switch *sw, unsigned what);
void vmctl_switch_hear(struct vmctl_switch *sw, unsigned what);

/* Closes all ports. Idempotent. */
void vmctl_switch_close(struct vmctl_switch *sw);

/* A new port without a connection. -ENOSPC, -ENOMEM. */
int vmctl_switch_add(struct vmctl_switch *sw, const char *name, struct vmctl_switch_port **out);

/* Takes a descriptor, non-blocking, and the bytes that were already read from a stream. The port must have no descriptor. */
int vmctl_switch_attach(struct vmctl_switch_port *p, enum vmctl_port_kind kind, int fd, const void *read, size_t len);

/* Ends the connection, the port stays: its queue is dropped, and tasks that wait for its end get `why`. */
void vmctl_switch_detach(struct vmctl_switch_port *p, int why);

/* Removes the port. */
void vmctl_switch_remove(struct vmctl_switch_port *p);

/* Forwards a frame as if it had come from this port. -EINVAL for a length that is not forwarded. */
int vmctl_switch_inject(struct vmctl_switch_port *p, const uint8_t *frame, size_t len);

/* Forwards a frame of this port that a watcher had taken, as it is now: with the port's faults, and without watchers. */
int vmctl_switch_pass_on(struct vmctl_switch_port *p, const uint8_t *frame, size_t len);

/* Sets or clears (NULL) a fault, whose filter it takes on success: of frames that a port sends, that it gets, or from one port to
 * another. -ENOMEM. */
int vmctl_switch_fault_from(struct vmctl_switch_port *p, const struct vmctl_fault *f);
int vmctl_switch_fault_to(struct vmctl_switch_port *p, const struct vmctl_fault *f);
int vmctl_switch_fault_pair(struct vmctl_switch_port *from, const struct vmctl_switch_port *to, const struct vmctl_fault *f);

/* Frees a fault and its filter. NULL is allowed. */
void vmctl_switch_fault_drop(struct vmctl_fault *f);

/* Restarts the faults, as in a new switch with that seed. */
void vmctl_switch_seed(struct vmctl_switch *sw, uint64_t seed);

/* Stops reading a port; reads all ports again. */
void vmctl_switch_pause(struct vmctl_switch_port *p);
void vmctl_switch_resume(struct vmctl_switch *sw);

void vmctl_switch_watch(struct vmctl_switch *sw, struct vmctl_switch_watcher *w);
void vmctl_switch_unwatch(struct vmctl_switch *sw, struct vmctl_switch_watcher *w);

/* switch_fault.c. Adds to the note: what happens to the frame on its way to a port (NULL: to all). */
void vmctl_switch_note(struct vmctl_switch *sw, const struct vmctl_switch_port *to, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* switch_read.c. Prepares a port before its first read; forwards bytes that were read from a new connection before it was ours. */
void vmctl_switch_read_init(struct vmctl_switch_port *p);
void vmctl_switch_read_first(struct vmctl_switch_port *p, const uint8_t *in, size_t len);

/* switch_forward.c. Forwards a frame of a port, with its length in front of it, in memory that stays until the flush; and ends a run of
 * frames, before the flush. */
void vmctl_switch_forward(struct vmctl_switch_port *from, const uint8_t *at, size_t len);
void vmctl_switch_forward_taken(struct vmctl_switch_port *from, const uint8_t *at, size_t len);
void vmctl_switch_forward_end(struct vmctl_switch *sw);

/* switch_output.c. Puts frames of a sender to a port, each with the 4 bytes of its length in front of it, in memory that stays until the
 * flush. */
void vmctl_switch_put(struct vmctl_switch_port *to, int from, const uint8_t *at, size_t total, size_t frames);
/* Sends the frames that were put to a port at once: their memory is free afterwards. */
void vmctl_switch_send(struct vmctl_switch_port *to);
/* Sends the frames that were put to the ports. Their sender `from` may be held back for them (NULL: no sender can be). */
void vmctl_switch_flush(struct vmctl_switch *sw, struct vmctl_switch_port *from);
void vmctl_switch_send_init(struct vmctl_switch_port *p);
void vmctl_switch_on_hold_over(struct vmctl_timer *t);
/* switch_hold.c. Ends all holds of a sender that is removed. */
void vmctl_switch_hold_end(struct vmctl_switch_port *from);

/* switch_fault.c. Applies a fault (NULL: none) to a frame, and changes the verdict. False: the frame is lost. */
bool vmctl_switch_judge(struct vmctl_switch_port *from, const struct vmctl_switch_port *to, struct vmctl_fault *f,
                        const uint8_t *frame, size_t len, struct vmctl_verdict *v);
/* Puts or delays a frame (as for put) that has the verdict of its sender's own fault, if the faults of the pair and of the
 * receiver let it through. */
void vmctl_switch_deliver_faulty(struct vmctl_switch_port *from, struct vmctl_switch_port *to, const uint8_t *at, size_t total,
                                 struct vmctl_verdict v);

/* switch_packets.c. Reading of a port that is no stream: as vmctl_sys_readv, with the lengths added. */
ssize_t vmctl_switch_bare_read(struct vmctl_switch_port *p, uint8_t *room, size_t size);
/* Writing to any port: as vmctl_sys_writev, for frames with their lengths in front. If it is no stream, whole ones are taken. */
ssize_t vmctl_switch_write(struct vmctl_switch_port *p, const struct iovec *run, int runs);

/* switch_delay.c. Keeps a copy of a frame (as for put) until it is due. */
void vmctl_switch_delay(struct vmctl_switch_port *from, struct vmctl_switch_port *to, const uint8_t *at, size_t total,
                        const struct vmctl_verdict *v);
void vmctl_switch_delay_forget(struct vmctl_switch *sw, const struct vmctl_switch_port *to); /* NULL: for all */
void vmctl_switch_on_release(struct vmctl_timer *t);

#endif
