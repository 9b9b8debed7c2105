/* Decides by seeded random numbers what happens to a frame: lost, late, doubled, corrupted, out of order. */
#include "io/switch_impairment.h"

#include "wire/ether.h"

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

/* Draws only where there is a chance: what is not configured changes nothing in a seeded run. */
static bool happens(struct vmctl_random *r, double chance)
{
    return chance > 0 && random_unit(r) < chance;
}

/* When a frame that comes at `at` has been sent at this rate; a time before `at` if too much waits already. */
static double rate_passage(struct vmctl_fault *f, size_t len, double at)
{
    double begin = f->busy > at ? f->busy : at;
    if (begin - at > f->burst)
        return -1;
    f->busy = begin + (double)len * 8 / f->rate;
    return f->busy;
}

enum vmctl_fate vmctl_fault_judge(struct vmctl_fault *f, size_t len, struct vmctl_verdict *v)
{
    struct vmctl_random *r = &f->random;
    if (f->cut)
        return VMCTL_FATE_CUT;
    if (happens(r, f->loss))
        return VMCTL_FATE_LOST;
    if (f->limit && (!v->limit || f->limit < v->limit))
        v->limit = f->limit;
    double due = v->due;
    if (f->rate > 0 && (due = rate_passage(f, len, due)) < 0)
        return VMCTL_FATE_LIMITED;
    if (happens(r, f->corrupt)) {
        v->corrupt = true;
        v->where = random_next(r);
    }
    if (happens(r, f->duplicate))
        v->copies++;
    due += f->delay;
    if (f->jitter > 0)
        due += f->jitter * (2 * random_unit(r) - 1);
    if (due < v->due)
        due = v->due;
    if (happens(r, f->reorder)) { /* those behind overtake it */
        v->due = due + f->reorder_by;
        return VMCTL_FATE_PASS;
    }
    if (due < f->latest)
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
