/* One epoch of a linear model on a low-precision iterate: the O(d) work of every step is integer only.
 *
 * In units of the fine grid (z_step / 2^8), with q the codes of z, x the codes of the data, for every output:
 *
 *     beta_q = clip(rint(beta * 2^8 * x_step / z_step + v_t))                  scalar, in float64; -1/2 < v_t < 1/2
 *     step   = sat(-beta_q * x - h)
 *     q      = clip(sat((q << 8) + r + step) >> 8, code_min, code_max)         the arithmetic shift is the rounding
 *     h      = sat(floor((D + L * q + 2^16 * random16) / 2^32))                refreshed every K steps
 *     D = rint(s * step_size * direction * 2^40 / z_step),  L = rint(s * step_size * l2 * 2^40),  s = 1
 *
 * with r = 0..255 the dither byte. For int8 codes sat is saturation to 16 bits and |beta_q| <= 127; for int16 codes the
 * update has 32 bits, cannot overflow, |beta_q| <= 32767 and |h| < 2^23. Refreshing h averages away its rounding and
 * lets L2 follow z; K = floor(1 / (16 * step_size * l2)), at least 1, so z shrinks by at most 1/16 between two refreshes,
 * and at most T / 128 within 64..256 for T steps: refreshes are also the points at which the grid and the mean of z are
 * observed. Data of 4 bits enter as x = 16 * code with x_step / 16: products with beta_q then use the whole range.
 *
 * int8 codes of one output are updated by pairs of steps, if K > 1 (then s = 2 and h is that of both): z is rounded once
 *
 *     step   = sat(sat(-beta0_q * x0 - beta1_q * x1) - h)
 *
 * and beta1 is that of the margin after the first step, whose product of codes is, without that step's rounding,
 *
 *     x1.q - beta0_q * x0.x1 / 2^8 - 2^e * x1.g / 2^9,   g = (h + (2^e >> 1)) >> e
 *
 * with e the smallest exponent with which g surely has 8 bits (lowbit_drift_shift). So a pair is two steps of SVRG and
 * then a rounding: what the steps wait for, sums over the coordinates and a rounding that depends on them, is waited for
 * once. The last step of an odd number stands alone, with an h of its own.
 *
 * Where z_step is multiplied by a factor (lowbit_control.h), the codes are rounded stochastically to the new grid,
 *
 *     q      = clip(floor((M * q + 2^16 * random16) / 2^32), code_min, code_max),   M = rint(2^32 / factor),
 *
 * for a power of two a shift (to the left an exact one). D, the scales of beta and of the product, the product of the
 * next row and h, here too, follow from the new z_step and the new codes. Updates, refreshes and their random bits are
 * counted through the epoch, so one that never changes its grid does not depend on how it is divided into runs.
 */
#ifndef LPNUM_LOWBIT_EPOCH_H
#define LPNUM_LOWBIT_EPOCH_H

#include <math.h>
#include <stdlib.h>

enum {
    LOWBIT_BLOCK = 64, /* coordinates; rows of 4-bit codes are taken in two of them */
    LOWBIT_SHIFT = 8,
    LOWBIT_MIN_REFRESH = 64, /* unless L2 wants it sooner */
    LOWBIT_MAX_REFRESH = 256,
    LOWBIT_WORDS = 64, /* steps whose random words are made at once */
    LOWBIT_CHUNK = 1024 /* AVX2: coordinates whose part of a step that does not need beta is prepared at once */
};

/* Variants of a step: data signed; codes that do not use the whole range of their storage; two 4-bit codes to a byte; of
 * a pair, factors that are together above 128. */
enum { SIGNED_DATA = 1, CLIPS = 2, PACKED = 4, LARGE = 8 };

/* What steps need. z, h have d_padded entries for every output, base and drift one for all; in the padding z and h stay
 * zero. */
typedef struct {
    size_t d, d_padded, outputs;
    size_t row_bytes;    /* of a row as a step reads it */
    size_t half;         /* 1 where only the low half of the last byte is a code, else 0 */
    const uint8_t *end;  /* of the matrix: reads must stay below */
    const uint8_t *keep; /* masks of the bytes of the last, incomplete 64 bytes of a row */
    int code_min, code_max, data; /* data: the variant */
    void *z, *h;
    const uint8_t *base;
    int16_t *ready; /* LOWBIT_CHUNK, scratch of a step */
    uint8_t *drift; /* of pairs: h / 2^drift_shift in 8 bits, for signed data 128 more */
    int drift_shift;
} lowbit_state;

/* Arguments of one update of the codes of one output. */
typedef struct {
    void *z;
    const void *h;
    const uint8_t *x, *next, *ahead; /* rows: of this step, of the next one, and one to prefetch */
    const uint8_t *words;            /* keys of the dither */
} lowbit_update;

/* Arguments of one update by a pair of steps, each with its rows. */
typedef struct {
    const uint8_t *x[2], *next[2], *ahead[2], *words;
} lowbit_pair;

/* What a pair of steps needs: products of its rows with the codes, of its rows with each other, of the second row with
 * drift. */
typedef struct {
    double first, second, gram, drift;
} lowbit_pair_products;

/* Adding it rounds to an integer, which then stands in the low bits. */
static const double LOWBIT_MAGIC = 0x1.8p52;

static inline int32_t lowbit_low_bits(double shifted) {
    uint64_t bits;
    memcpy(&bits, &shifted, 8);
    return (int32_t)(uint32_t)bits;
}

static inline int lowbit_clip(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

/* K of an epoch of T steps. */
static inline int lowbit_refresh_steps(double step_size, double l2, size_t T) {
    const size_t part = T / 128;
    const int most = lowbit_clip(part < LOWBIT_MAX_REFRESH ? (int)part : LOWBIT_MAX_REFRESH, LOWBIT_MIN_REFRESH,
                                 LOWBIT_MAX_REFRESH);
    const double steps = 1.0 / (16.0 * step_size * l2); /* inf for l2 = 0 */
    return steps >= most ? most : steps >= 2.0 ? (int)steps : 1;
}

/* value rounded to the nearest-even integer, saturating at +-2^bits; NaN gives 0. */
static inline int64_t lowbit_fixed(double value, int bits) {
    const double bound = (double)((int64_t)1 << bits), shift = value < 0 ? -0x1p52 : 0x1p52;
    if (!(value >= -bound && value <= bound)) return value < 0 ? -(int64_t)bound : value > 0 ? (int64_t)bound : 0;
    return (int64_t)(value > -0x1p52 && value < 0x1p52 ? (value + shift) - shift : value);
}

static COLD double lowbit_clamp(double v, int limit, size_t *clipped) {
    ++*clipped;
    return v < 0 ? -limit : v > 0 ? limit : 0; /* NaN becomes 0 */
}

/* LOWBIT_MAGIC - beta_q of beta = -minus_beta; counts what had to be clipped. */
static ALWAYS_INLINE double lowbit_shifted(double minus_beta, const uint8_t *words, int limit, size_t *clipped) {
    double v = minus_beta - (dither_uniform(words) - (0.5 - 0x1p-33));
    if (UNLIKELY(!(v > -0.5 - limit && v < 0.5 + limit))) v = lowbit_clamp(v, limit, clipped);
    return v + LOWBIT_MAGIC;
}

/* 16 little-endian random bits, times 2^16. */
static inline int64_t lowbit_random32(const uint8_t *word) {
    return (int64_t)((uint32_t)word[0] << 16 | (uint32_t)word[1] << 24);
}

static ALWAYS_INLINE int lowbit_data(uint8_t byte, int variant) { return variant & SIGNED_DATA ? (int8_t)byte : byte; }

static inline int sat16(int v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

/* Where coordinate j is kept: of 128 packed codes the even ones, which are the low halves of 64 bytes, then the odd. */
static inline size_t lowbit_position(size_t j, int variant) {
    return variant & PACKED ? j / 128 * 128 + j % 2 * 64 + j % 128 / 2 : j;
}

/* dst (OUT): d_padded data codes of a packed row in their positions, 16 times as large; zero in the padding. */
static void lowbit_unpack(uint8_t *restrict dst, const uint8_t *restrict row, size_t d, size_t d_padded) {
    for (size_t block = 0; block < d_padded; block += 128, row += 64) {
        const size_t left = d - block < 128 ? d - block : 128, low = (left + 1) / 2, high = left / 2;
        uint8_t bytes[64] = {0};
        memcpy(bytes, row, low);
        for (size_t k = 0; k < 64; k++) dst[block + k] = (uint8_t)(bytes[k] << 4);
        for (size_t k = 0; k < 64; k++) dst[block + 64 + k] = k < high ? bytes[k] & 0xF0 : 0;
    }
}

#include "lowbit_control.h"
#include "lowbit_state.h"
#if LPNUM_X86 && LPNUM_LEVEL == 2
#include "lowbit_step8_avx512.h"
#include "lowbit_pair8_avx512.h"
#include "lowbit_step16_avx512.h"
#elif LPNUM_X86 && LPNUM_LEVEL == 1
#include "lowbit_step8_avx2.h"
#include "lowbit_pair8_avx2.h"
#include "lowbit_step16_avx2.h"
#else
#include "lowbit_step8.h"
#include "lowbit_pair8.h"
#include "lowbit_step16.h"
#endif

/* shifted: LOWBIT_MAGIC - beta_q, in a register, because the step waits for it. */
typedef double (*lowbit_stepper)(const lowbit_state *s, const lowbit_update *u, double shifted);

/* Where an epoch has come to: its next step, the row of that step, and how often beta was clipped. */
typedef struct {
    size_t t, clipped;
    const uint8_t *x[2];
    lowbit_stepper step; /* for several outputs */
} lowbit_place;

typedef void (*lowbit_walker)(const epoch_problem *p, const lowbit_state *s, lowbit_memory *m, lowbit_scales scale,
                              lowbit_place *at, size_t until);

/* V(variant) for every variant of a step; those of packed data where steps take it. */
#define EACH_VARIANT(V) V(0) V(1) V(2) V(3) PACKED_VARIANTS(V)

#define CODE int8_t
#define FINE int16_t
#define FINE_MAX 32767
#define BETA_MAX 127
#define FULL_RANGE 127
#define TAKES_PACKED (LPNUM_X86 && LPNUM_LEVEL > 0)
#if TAKES_PACKED
#define PACKED_VARIANTS(V) V(4) V(5) V(6) V(7)
#else
#define PACKED_VARIANTS(V)
#endif
#define PAIRS 1
#define LOWBIT(f) f##8
#include "lowbit_pairs.h"
#include "lowbit_driver.h"
#undef CODE
#undef FINE
#undef FINE_MAX
#undef BETA_MAX
#undef FULL_RANGE
#undef TAKES_PACKED
#undef PACKED_VARIANTS
#undef PAIRS
#undef LOWBIT

#define CODE int16_t
#define FINE int32_t
#define FINE_MAX 8388607
#define BETA_MAX 32767
#define FULL_RANGE 32767
#define TAKES_PACKED 0
#define PACKED_VARIANTS(V)
#define PAIRS 0
#define LOWBIT(f) f##16
#include "lowbit_driver.h"

static int lowbit_epoch(const epoch_problem *p, const lowbit_iterate *z, const lowbit_control *control,
                        lowbit_report *report) {
    return z->wide ? lowbit_run16(p, z, control, report) : lowbit_run8(p, z, control, report);
}

#endif /* LPNUM_LOWBIT_EPOCH_H */
