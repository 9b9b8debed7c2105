/* Impairments of frames (loss, delay …): drawn from a seeded generator, so that a run can be repeated. Pure: no clock, no
 * fd; it says what to do with a frame, and the switch does it. */
#ifndef VMCTL_IO_SWITCH_IMPAIRMENT_H
#define VMCTL_IO_SWITCH_IMPAIRMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmctl_random {
    uint64_t state[4];
};

void vmctl_random_seed(struct vmctl_random *r, uint64_t seed);

/* The fault of one direction. All zero: none. Chances are 0 to 1, times in seconds. */
struct vmctl_fault {
    bool cut;
    double loss, duplicate, reorder, corrupt;
    double delay, jitter;    /* a frame is late by delay ± jitter, and overtakes none */
    double reorder_by;       /* a reordered frame is held back that much longer */
    double rate;             /* bits a second, 0: no limit */
    double burst;            /* seconds of traffic that may wait for the rate */
    uint32_t limit;          /* delayed frames of one direction, 0: as many as there is memory for */
    double busy, latest;     /* the rate is used up until then; the last frame leaves then */
    struct vmctl_random random; /* of its own: frames in other directions change nothing here */
};

enum vmctl_fate { VMCTL_FATE_PASS, VMCTL_FATE_CUT, VMCTL_FATE_LOST, VMCTL_FATE_LIMITED };

struct vmctl_verdict {
    double due;        /* when it leaves; not after `now`: at once */
    unsigned copies;   /* beside the frame itself */
    bool corrupt;
    uint32_t limit;    /* the lowest of the faults that it has met, 0: none */
    uint64_t where;    /* for vmctl_fault_corrupt */
};

/* Lets a frame of `len` bytes that comes at v->due through, and changes *v accordingly. */
enum vmctl_fate vmctl_fault_judge(struct vmctl_fault *f, size_t len, struct vmctl_verdict *v);

/* Changes one bit behind the addresses; `where` is any number. */
void vmctl_fault_corrupt(uint64_t where, uint8_t *frame, size_t len);

#endif
