/* One epoch of a linear model on a low-precision iterate: the O(d) work of every step is integer only.
 *
 * In units of the fine grid (z_step / 2^8), with q the codes of z, x the codes of the data:
 *
 *     beta_q = clip(floor(beta * 2^8 * x_step / z_step + u_t))                 scalar, in float64
 *     step   = sat(r - beta_q * x - h)                                         r = dither byte, 0..255
 *     q      = clip(sat((q << 8) + step) >> 8, code_min, code_max)             the arithmetic shift is the rounding
 *     h      = sat(floor((D + L * q + 2^16 * random16) / 2^32))                refreshed every K steps
 *     D = rint(step_size * direction * 2^40 / z_step),  L = rint(step_size * l2 * 2^40)
 *
 * For int8 codes sat is saturation to 16 bits and |beta_q| <= 127; for int16 codes the update has 32 bits, cannot
 * overflow, |beta_q| <= 32767 and |h| < 2^23. Refreshing h averages away its rounding and lets L2 follow z;
 * K = floor(1 / (16 * step_size * l2)) within 1..64, so z shrinks by at most 1/16 between two refreshes.
 *
 * Where z_step is multiplied by a factor (lowbit_control.h), the codes are rounded stochastically to the new grid,
 *
 *     q      = clip(floor((M * q + 2^16 * random16) / 2^32), code_min, code_max),   M = rint(2^32 / factor),
 *
 * for a power of two a shift (to the left an exact one). D, the scales of beta and of the product, the product of the
 * next row and h, here too, follow from the new z_step and the new codes. Steps, refreshes and their random bits are
 * counted through the epoch, so one that never changes its grid does not depend on how it is divided into runs.
 */
#ifndef LPNUM_LOWBIT_EPOCH_H
#define LPNUM_LOWBIT_EPOCH_H

#include <stdlib.h>

enum { LOWBIT_BLOCK = 64, LOWBIT_SHIFT = 8, LOWBIT_MAX_REFRESH = 64 };

/* Variants compiled separately: data int8 instead of uint8; codes that do not use the whole range of their storage. */
enum { SIGNED_DATA = 1, CLIPS = 2 };

/* What a step needs besides the row and beta. z, base, h have d_padded entries; coordinates from d on stay zero. */
typedef struct {
    size_t d, d_padded;
    const uint8_t *end; /* of the matrix */
    int code_min, code_max;
    void *z;
    const uint8_t *base;
    void *h;
} lowbit_state;

static inline int lowbit_refresh_steps(double step_size, double l2) {
    const double steps = 1.0 / (16.0 * step_size * l2); /* inf for l2 = 0 */
    return steps >= LOWBIT_MAX_REFRESH ? LOWBIT_MAX_REFRESH : steps >= 2.0 ? (int)steps : 1;
}

/* value rounded to the nearest-even integer, saturating at +-2^bits; NaN gives 0. */
static inline int64_t lowbit_fixed(double value, int bits) {
    const double bound = (double)((int64_t)1 << bits), shift = value < 0 ? -0x1p52 : 0x1p52;
    if (!(value >= -bound && value <= bound)) return value < 0 ? -(int64_t)bound : value > 0 ? (int64_t)bound : 0;
    return (int64_t)(value > -0x1p52 && value < 0x1p52 ? (value + shift) - shift : value);
}

/* floor(v) within +-limit; counts what had to be clipped (NaN becomes 0 and counts). */
static inline int lowbit_beta(double v, int limit, size_t *clipped) {
    if (!(v >= -limit && v < limit + 1)) {
        ++*clipped;
        return v < 0 ? -limit : v > 0 ? limit : 0;
    }
    const int q = (int)v;
    return q - (q > v);
}

/* What depends on z_step: value = dot * product of codes; fine units of a coordinate of the step = beta * slope * code. */
typedef struct {
    double dot, beta;
} lowbit_scales;

/* fixed (OUT): D, and zero in the padding. */
static lowbit_scales lowbit_set_scales(const epoch_problem *p, double z_step, int64_t *restrict fixed,
                                       size_t d_padded) {
    const double h_scale = p->step_size / z_step * 0x1p40;
    for (size_t j = 0; j < d_padded; j++) fixed[j] = j < p->x.d ? lowbit_fixed(p->direction[j] * h_scale, 60) : 0;
    return (lowbit_scales){p->x.step * z_step, p->step_size * p->x.step / z_step * (1 << LOWBIT_SHIFT)};
}

/* 16 little-endian random bits, times 2^16. */
static inline int64_t lowbit_random32(const uint8_t *word) {
    return (int64_t)((uint32_t)word[0] << 16 | (uint32_t)word[1] << 24);
}

static ALWAYS_INLINE int lowbit_data(uint8_t byte, int variant) { return variant & SIGNED_DATA ? (int8_t)byte : byte; }

static inline int lowbit_clip(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

#include "lowbit_control.h"
#include "lowbit_step8.h"
#include "lowbit_step16.h"

#define CODE int8_t
#define FINE int16_t
#define FINE_MAX 32767
#define BETA_MAX 127
#define FULL_RANGE 127
#define LOWBIT(f) f##8
#include "lowbit_driver.h"
#undef CODE
#undef FINE
#undef FINE_MAX
#undef BETA_MAX
#undef FULL_RANGE
#undef LOWBIT

#define CODE int16_t
#define FINE int32_t
#define FINE_MAX 8388607
#define BETA_MAX 32767
#define FULL_RANGE 32767
#define LOWBIT(f) f##16
#include "lowbit_driver.h"

static int lowbit_epoch(const epoch_problem *p, const lowbit_iterate *z, const lowbit_control *control,
                        lowbit_report *report) {
    return z->wide ? lowbit_dispatch16(p, z, control, report) : lowbit_dispatch8(p, z, control, report);
}

#endif /* LPNUM_LOWBIT_EPOCH_H */
