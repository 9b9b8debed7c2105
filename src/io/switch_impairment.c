/* Decides by seeded random numbers if a frame is lost, delayed, duplicated, corrupted or reordered. */
#include "io/switch_impairment.h"

#include "wire/ether.h"

#include <math.h>

/* xoshiro256**, seeded by splitmix64: both in the public domain, by Blackman and Vigna. */

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

void vmctl_random_seed(struct vmctl_random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        r->state[i] = z ^ z >> 31;
    }
}

static uint64_t random_next(struct vmctl_random *r)
{
    uint64_t *s = r->state, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

static double random_unit(struct vmctl_random *r)
{
    return (double)(random_next(r) >> 11) * 0x1p-53;
}

/* Draws a number only for a chance above 0, so that unused faults do not change a seeded run. */
static bool happens(struct vmctl_random *r, struct vmctl_chance *c)
{
    if (c->chance <= 0)
        return false;
    bool again = c->correlation > 0 && c->drawn && random_unit(r) < c->correlation;
    if (!again)
        c->last = random_unit(r) < c->chance;
    c->drawn = true;
    return c->last;
}

/* Decides the loss of a frame in the present state, and may change the state. */
static bool gilbert_elliott(struct vmctl_fault *f)
{
    if (f->to_bad <= 0)
        return false;
    bool bad = f->bad;
    if (random_unit(&f->random) < (bad ? f->to_good : f->to_bad))
        f->bad = !bad;
    return random_unit(&f->random) < (bad ? f->loss_bad : f->loss_good);
}

static bool is_lost(struct vmctl_fault *f)
{
    bool nth = f->loss_every && ++f->counted % f->loss_every == 0;
    bool state = gilbert_elliott(f);
    return happens(&f->random, &f->loss) || nth || state;
}

static double draw_normal(struct vmctl_random *r)
{
    double u = 1 - random_unit(r);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * random_unit(r));
}

/* A Pareto distribution of shape 3, shifted and scaled to the mean 0 and the deviation 1. */
static double draw_pareto(struct vmctl_random *r)
{
    return (pow(1 - random_unit(r), -1.0 / 3) - 1.5) / 0.8660254037844386;
}

static double draw(struct vmctl_fault *f)
{
    struct vmctl_random *r = &f->random;
    switch (f->distribution) {
    case VMCTL_NORMAL:
        return draw_normal(r);
    case VMCTL_PARETO:
        return draw_pareto(r);
    case VMCTL_PARETONORMAL:
        return 0.25 * draw_normal(r) + 0.75 * draw_pareto(r);
    case VMCTL_TABLE:
        return (double)f->table[random_next(r) % f->table_size];
    default:
        return 2 * random_unit(r) - 1;
    }
}

static double draw_shift(struct vmctl_fault *f)
{
    if (f->jitter <= 0)
        return 0;
    bool again = f->jitter_correlation > 0 && f->shifted && random_unit(&f->random) < f->jitter_correlation;
    if (!again)
        f->shift = draw(f);
    f->shifted = true;
    return f->jitter * f->shift;
}

static double bits_on_wire(const struct vmctl_fault *f, size_t len)
{
    double bytes = fmax(0, (double)len + f->overhead);
    if (f->cell > 0)
        bytes = ceil(bytes / f->cell) * (f->cell + f->cell_overhead);
    return bytes * 8;
}

/* The time when `count` frames that come at `at` have been sent at this rate; a time before `at` if too many bytes wait already. */
static double rate_passage(struct vmctl_fault *f, size_t len, unsigned count, double at)
{
    double begin = fmax(f->busy, at - f->burst * 8 / f->rate);
    if (begin - at > f->latency)
        return -1;
    f->busy = begin + bits_on_wire(f, len) * count / f->rate;
    return fmax(at, f->busy);
}

/* The time of the first slot that is not before `due` and has room. */
static double slot_of(struct vmctl_fault *f, double due)
{
    if (f->slot_max <= 0)
        return due;
    if (due - f->slot_at > 64 * f->slot_max) /* no frame came for long: slots begin anew */
        f->slot_at = due - f->slot_max * random_unit(&f->random);
    while (f->slot_at < due || (f->slot_frames && !f->slot_left)) {
        f->slot_at += f->slot_min + (f->slot_max - f->slot_min) * random_unit(&f->random);
        f->slot_left = f->slot_frames;
    }
    f->slot_left -= f->slot_frames > 0;
    return f->slot_at;
}

bool vmctl_fault_is_hit(struct vmctl_fault *f, const uint8_t *frame, size_t len)
{
    if (!vmctl_match(&f->only, frame, len))
        return false;
    f->matched++;
    return f->matched >= f->first && (!f->last || f->matched <= f->last);
}

enum vmctl_fate vmctl_fault_judge(struct vmctl_fault *f, const uint8_t *frame, size_t len, struct vmctl_verdict *v)
{
    struct vmctl_random *r = &f->random;
    if (f->cut)
        return VMCTL_FATE_CUT;
    if (!vmctl_fault_is_hit(f, frame, len))
        return VMCTL_FATE_PASS;
    if (is_lost(f))
        return VMCTL_FATE_LOST;
    if (f->limit && (!v->limit || f->limit < v->limit))
        v->limit = f->limit;
    double due = v->due;
    unsigned copies = happens(r, &f->duplicate);
    if (f->rate > 0 && (due = rate_passage(f, len, 1 + copies, due)) < 0)
        return VMCTL_FATE_LIMITED;
    v->copies += copies;
    if (happens(r, &f->corrupt)) {
        v->corrupt = true;
        v->where = random_next(r);
    }
    due = slot_of(f, fmax(v->due, due + f->delay + draw_shift(f)));
    if (happens(r, &f->reorder)) { /* later frames overtake it */
        v->due = due + f->reorder_by;
        return VMCTL_FATE_PASS;
    }
    if ((f->ordered || f->jitter <= 0) && due < f->latest)
        due = f->latest;
    f->latest = due;
    v->due = due;
    return VMCTL_FATE_PASS;
}

void vmctl_fault_corrupt(uint64_t where, uint8_t *frame, size_t len)
{
    if (len <= VMCTL_ETHER_MIN)
        return;
    uint64_t n = where % ((len - VMCTL_ETHER_MIN) * 8);
    frame[VMCTL_ETHER_MIN + n / 8] ^= (uint8_t)(1U << n % 8);
}
