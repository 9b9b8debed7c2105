/* A capture of what goes through a switch, in a pcapng file: each frame once, as it came in; an interface a port. */
#ifndef VMCTL_IO_SWITCH_CAPTURE_H
#define VMCTL_IO_SWITCH_CAPTURE_H

#include "io/switch.h"

struct vmctl_capture {
    struct vmctl_switch_watcher watcher;
    struct vmctl_switch *sw;
    int fd;                                    /* -1: closed */
    struct vmctl_buf out;
    double epoch;                              /* seconds between 1970 and the start of our clock */
    uint32_t interfaces;
    uint32_t interface[VMCTL_SWITCH_PORTS];    /* a port's number in the file */
    uint64_t serial[VMCTL_SWITCH_PORTS];       /* of the port that has the number */
    uint64_t frames;
    int err;                                   /* why nothing more is written */
};

/* Begins to write to an open file, which it takes. 0, or the error of the first write. */
int vmctl_capture_open(struct vmctl_capture *c, struct vmctl_switch *sw, int fd);

/* Writes what is left and closes the file. 0, or the first error that there was. Idempotent. */
int vmctl_capture_close(struct vmctl_capture *c);

#endif
