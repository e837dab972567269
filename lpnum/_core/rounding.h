/* Rounding to integers, the only place where a value loses precision. All on float64, equal at every SIMD level. */
#ifndef LPNUM_ROUNDING_H
#define LPNUM_ROUNDING_H

#include <math.h>

#include "elementwise.h"

/* Adding and subtracting 1.5 * 2^52 rounds |y| < 2^51 to the nearest integer, ties to even, in two additions. */
static const double ROUND_MAGIC = 0x1.8p52;
static const double ROUND_MAGIC_LIMIT = 0x1p51;

static inline double round_even(double y) { return (y + ROUND_MAGIC) - ROUND_MAGIC; }

static inline double round_floor(double y) {
    const double q = round_even(y);
    return q - (q > y ? 1.0 : 0.0);
}

static inline double round_ceil(double y) {
    const double q = round_even(y);
    return q + (q < y ? 1.0 : 0.0);
}

static inline double round_trunc(double y) { return y >= 0 ? round_floor(y) : round_ceil(y); }

static inline double round_away(double y) {
    const double t = round_trunc(y);
    return fabs(y - t) >= 0.5 ? t + (y < 0 ? -1.0 : 1.0) : t;
}

/* Round up if fraction >= threshold; threshold = 1 - (word + 1/2) / 2^k for a k-bit random word, so the probability of
 * rounding up is the fraction rounded to k bits, and a value on the grid never moves. */
static inline double round_stochastic(double y, double threshold) {
    const double f = round_floor(y);
    return f + (y - f >= threshold ? 1.0 : 0.0);
}

static inline double stochastic_threshold(uint32_t word, int word_bits, int random_bits) {
    const double unit = 1.0 / (double)(1ull << random_bits);
    return 1.0 - ((double)(word >> (word_bits - random_bits)) + 0.5) * unit;
}

/* Any finite or infinite y; NaN stays NaN. */
static inline double round_any(double y, int rounding, double threshold) {
    if (!(fabs(y) < ROUND_MAGIC_LIMIT)) return y; /* already an integer, infinite or NaN */
    switch (rounding) {
    case LPNUM_NEAREST_AWAY: return round_away(y);
    case LPNUM_TOWARDS_ZERO: return round_trunc(y);
    case LPNUM_TOWARDS_POSITIVE: return round_ceil(y);
    case LPNUM_TOWARDS_NEGATIVE: return round_floor(y);
    case LPNUM_STOCHASTIC: return round_stochastic(y, threshold);
    default: return round_even(y);
    }
}

#endif
