/* Impairments of frames (loss, delay …): drawn from a seeded generator, so that a run can be repeated. No clock, no
 * fd; it returns a verdict, and the switch applies it. */
#ifndef VMCTL_IO_SWITCH_IMPAIRMENT_H
#define VMCTL_IO_SWITCH_IMPAIRMENT_H

#include "io/switch_match.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmctl_random {
    uint64_t state[4];
};

void vmctl_random_seed(struct vmctl_random *r, uint64_t seed);

/* An event with a chance. With the probability `correlation` its outcome is the previous one; the chance as a whole is the same. */
struct vmctl_chance {
    double chance, correlation; /* 0 to 1 */
    bool last, drawn;
};

enum vmctl_distribution { VMCTL_UNIFORM, VMCTL_NORMAL, VMCTL_PARETO, VMCTL_PARETONORMAL, VMCTL_TABLE };

enum { VMCTL_FAULT_TABLE = 256 };

/* The fault of one direction. All zero: none. Times in seconds. */
struct vmctl_fault {
    bool cut;
    struct vmctl_match only;        /* the frames that it hits; all zero: all */
    uint64_t first, last, matched;  /* of those: from the first-th on (0: 1) to the last-th (0: all); how many there were */
    struct vmctl_chance loss, duplicate, reorder, corrupt;
    uint32_t loss_every, counted;   /* each so many-th frame is lost, 0: none */
    double to_bad, to_good;         /* Gilbert and Elliott's model: the chance of a change of its state, a frame */
    double loss_bad, loss_good;     /* the chance of a loss in each */
    bool bad;                       /* its state */
    double delay, jitter;           /* a frame is late by delay, and jitter times a number of the distribution */
    enum vmctl_distribution distribution;
    double jitter_correlation;      /* that chance: the number is the previous one */
    double shift;                   /* the previous number */
    bool shifted;                   /* there was one */
    bool ordered;                   /* frames overtake none, though they are later for it */
    uint32_t table_size;
    float table[VMCTL_FAULT_TABLE]; /* numbers that are drawn alike */
    double reorder_by;              /* a reordered frame is held back that much longer */
    double rate;                    /* bits a second, 0: no limit */
    double overhead;                /* bytes that each frame takes beside its own */
    double cell, cell_overhead;     /* frames go in cells of so many bytes, each with so many more; 0: they do not */
    double burst;                   /* bytes that may go at once after a pause, as a token bucket has it */
    double latency;                 /* how long a frame may wait for the rate */
    double slot_min, slot_max;      /* frames leave together, at times that lie so far apart; 0: at once */
    uint32_t slot_frames, slot_left;/* at most so many at a time, 0: any number */
    double slot_at;
    uint32_t limit;                 /* delayed frames of one direction, 0: as many as there is memory for */
    double busy, latest;            /* the rate is used up until then; the last frame leaves then */
    struct vmctl_random random;     /* of its own: frames in other directions change nothing here */
};

enum vmctl_fate { VMCTL_FATE_PASS, VMCTL_FATE_CUT, VMCTL_FATE_LOST, VMCTL_FATE_LIMITED };

struct vmctl_verdict {
    double due;        /* when it leaves; not after `now`: at once */
    unsigned copies;   /* beside the frame itself */
    bool corrupt;
    uint32_t limit;    /* the lowest of the faults that it has met, 0: none */
    uint64_t where;    /* for vmctl_fault_corrupt */
};

/* Tells if it hits this frame. Counts frames that match. */
bool vmctl_fault_is_hit(struct vmctl_fault *f, const uint8_t *frame, size_t len);

/* Lets a frame that comes at v->due through, and changes *v accordingly. */
enum vmctl_fate vmctl_fault_judge(struct vmctl_fault *f, const uint8_t *frame, size_t len, struct vmctl_verdict *v);

/* Changes one bit behind the addresses; `where` is any number. */
void vmctl_fault_corrupt(uint64_t where, uint8_t *frame, size_t len);

#endif
