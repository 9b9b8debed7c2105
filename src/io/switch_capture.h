/* A capture of the frames that pass a switch, as pcapng: each frame once, as it came in, with the effects of faults as a comment; an
 * interface for each port. It never blocks and never raises a signal: frames for which a slow reader leaves no room are left out and
 * counted. */
#ifndef VMCTL_IO_SWITCH_CAPTURE_H
#define VMCTL_IO_SWITCH_CAPTURE_H

#include "io/switch.h"

enum vmctl_capture_kind {
    VMCTL_CAPTURE_FILE,     /* a regular file; on an error it is cut behind its last whole block */
    VMCTL_CAPTURE_FIFO,     /* a FIFO by its path: each reader gets a capture of its own, from when it came */
    VMCTL_CAPTURE_PIPE,     /* an open pipe or socket */
};

struct vmctl_capture_options {
    enum vmctl_capture_kind kind;
    const char *path;       /* of a FIFO; of a file that is rotated: PATH becomes PATH.1, and so on */
    uint32_t snaplen;       /* bytes of each frame, 0: all */
    uint64_t max_bytes;     /* of a file, 0: no limit */
    unsigned files;         /* with max_bytes: how many there are, the present one included; 1: the capture ends there */
    struct vmctl_pcap_filter *filter; /* NULL: all frames. Freed with the capture, also if it cannot be opened */
};

struct vmctl_capture {
    struct vmctl_switch_watcher watcher;
    struct vmctl_switch *sw;
    struct vmctl_capture_options want;         /* its path is ours */
    int fd;                                    /* -1: none (yet) */
    bool open, is_socket;
    struct vmctl_buf out;                      /* blocks; `half`: bytes that are left of the first, if a part of it is out */
    size_t half;
    uint64_t written, whole;                   /* bytes that are in the file; and those of whole blocks */
    bool full;                                 /* max_bytes are in it, and there is no further file */
    uint64_t most;                             /* bytes that the process may write to a file (RLIMIT_FSIZE) */
    ev_io wio;
    struct vmctl_timer retry;                  /* for a FIFO: until it has a reader */
    double epoch;                              /* seconds between 1970 and the start of our clock */
    uint32_t interfaces;
    uint32_t interface[VMCTL_SWITCH_PORTS];    /* a port's number in the file */
    uint64_t serial[VMCTL_SWITCH_PORTS];       /* of the port that has the number */
    uint64_t frames, lost;                     /* captured; left out for want of room */
    int err;                                   /* the error that has ended it */
};

/* Begins to write to `fd`, which it takes (-1 for a FIFO). 0, or the error of the first write: it is closed then. */
int vmctl_capture_open(struct vmctl_capture *c, struct vmctl_switch *sw, int fd, const struct vmctl_capture_options *want);

/* Bytes that are not written yet. */
size_t vmctl_capture_pending(const struct vmctl_capture *c);

/* Writes as much as can be written at once, and closes the file. 0, or its first error. Idempotent. */
int vmctl_capture_close(struct vmctl_capture *c);

/* switch_capture_output.c */
enum { VMCTL_CAPTURE_PATH = 4096 }; /* bytes of a path, with its NUL */

void vmctl_capture_output_init(struct vmctl_capture *c);
/* Begins anew, in a new file or for a new reader. */
int vmctl_capture_begin(struct vmctl_capture *c);
/* Writes as much as goes at once. */
void vmctl_capture_write(struct vmctl_capture *c);
/* Nothing more is written; a file ends behind its last whole block. */
void vmctl_capture_fail(struct vmctl_capture *c, int err);
/* Opens a FIFO if it has a reader, else tries again later. */
void vmctl_capture_open_fifo(struct vmctl_capture *c);
/* PATH.1 becomes PATH.2 and so on; PATH becomes PATH.1, and is made anew. */
int vmctl_capture_rotate(struct vmctl_capture *c);

#endif
