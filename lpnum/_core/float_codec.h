/* Small floats: values of codes and codes of values, for every format by the same arithmetic.
 *
 * A float format is a fixed-point grid whose step depends on the value: with e = max(exponent of y, min_exponent),
 * r = y * 2^(mantissa_bits - e) is exact, the rounding is that of rounding.h to an integer q, and the magnitude of the
 * code is |q| + (e - min_exponent) * 2^mantissa_bits: a carry of the rounding moves on to the next exponent by itself,
 * and subnormals are the case e = min_exponent. Nothing here names a format.
 */
#include <float.h>
#include <string.h>

#include "rounding.h"

static inline double f64_of_bits(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static inline uint64_t bits_of_f64(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static inline double power_of_two(int exponent) { return f64_of_bits((uint64_t)(1023 + exponent) << 52); }

/* ---- decode ------------------------------------------------------------------------------------------------------- */

/* Value of any code. */
static inline double float_value(const lpnum_format *f, int code) {
    const int m = f->mantissa_bits, magnitude = code & f->magnitude_mask;
    const double sign = code & f->sign_mask ? -1.0 : 1.0;
    if (code == f->nan_code) return (double)NAN;
    if (magnitude > f->finite_max) return magnitude == f->inf_code ? sign * (double)INFINITY : (double)NAN;
    if (!f->zero) return power_of_two(magnitude + f->min_exponent);
    const int field = magnitude >> m, mantissa = magnitude & ((1 << m) - 1);
    const int significand = field ? (1 << m) + mantissa : mantissa;
    return sign * significand * power_of_two((field ? field - 1 : 0) + f->min_exponent - m);
}

/* ---- encode ------------------------------------------------------------------------------------------------------- */

/* Does a finite magnitude beyond the range become infinite (or NaN, without infinities), or the largest finite value?
 * An infinite one is exact under LPNUM_IEEE: no rounding makes it finite (IEEE 754, 6.1). */
static inline int overflows_to_special(int overflow, int rounding, int negative) {
    if (overflow != LPNUM_IEEE || rounding == LPNUM_TOWARDS_ZERO) return 0;
    return !(rounding == LPNUM_TOWARDS_POSITIVE && negative) && !(rounding == LPNUM_TOWARDS_NEGATIVE && !negative);
}

static inline int special_code(const lpnum_format *f, int negative) {
    if (f->inf_code >= 0) return f->inf_code | (negative ? f->sign_mask : 0);
    return f->nan_code >= 0 ? f->nan_code : f->finite_max | (negative ? f->sign_mask : 0);
}

/* One value, all formats, modes, policies and counters: the definition that the block loop must equal. */
static double float_code_counted(double y, double threshold, int rounding, const lpnum_format *f, uint64_t index,
                                 const lpnum_policy *p, lpnum_events *e) {
    const int negative = signbit(y) != 0, m = f->mantissa_bits;
    if (y != y && p->has_nan_code) return p->nan_code;
    if (y != y || (negative && y != 0 && !f->sign_mask)) { /* NaN, or below an unsigned format */
        if (f->nan_code >= 0 && (y != y || p->overflow == LPNUM_IEEE)) return f->nan_code;
        if (e->invalid++ == 0) e->first_invalid = (int64_t)index;
        return p->has_nan_code ? p->nan_code : 0;
    }
    const int sign = negative ? f->sign_mask : 0;
    int magnitude;
    if (isinf(y)) {
        magnitude = f->finite_max + 1;
    } else {
        int exponent = (int)(bits_of_f64(y) >> 52 & 0x7FF) - 1023;
        exponent = exponent < f->min_exponent ? f->min_exponent : exponent;
        double r = y * power_of_two(m - exponent);
        if (r == 0 && y != 0) r = negative ? -DBL_TRUE_MIN : DBL_TRUE_MIN; /* min_exponent > m: still not 0 */
        const int above = (exponent - f->min_exponent) * (1 << m) - !f->zero;
        double q = round_any(r, rounding, threshold);
        /* without mantissa bits the parity of the significand is not that of the code */
        if (m == 0 && rounding == LPNUM_NEAREST_EVEN && fabs(r - trunc(r)) == 0.5) {
            const double down = trunc(r);
            q = ((int)fabs(down) + above) & 1 ? down + (y < 0 ? -1.0 : 1.0) : down;
        }
        if (q != r) e->inexact++;
        magnitude = (int)fabs(q) + above;
        if (magnitude < 0 || (q == 0 && y != 0)) e->underflow++;
        if (magnitude < 0) magnitude = 0;
    }
    if (magnitude > f->finite_max) {
        if (e->overflow++ == 0) e->first_overflow = (int64_t)index;
        if (overflows_to_special(p->overflow, isinf(y) ? LPNUM_NEAREST_EVEN : rounding, negative))
            return special_code(f, negative);
        magnitude = f->finite_max;
    }
    return magnitude == 0 && !f->negative_zero ? 0 : magnitude | sign;
}

#define FLOAT_LOOP(ROUND)                                                                                            \
    for (size_t i = 0; i < n; i++) {                                                                                 \
        const uint64_t bits = bits_of_f64(y[i]);                                                                     \
        uint64_t biased = bits >> 52 & 0x7FF;                                                                        \
        biased = biased < lowest ? lowest : biased;                                                                  \
        biased = biased > 2045 ? 2045 : biased;                                                                      \
        const double r = y[i] * f64_of_bits((2046 + (uint64_t)m - biased) << 52);                                    \
        const double q = ROUND;                                                                                      \
        const double above = (f64_of_bits(biased | 0x4330000000000000ull) - base) * unit;                            \
        const double magnitude = fabs(q) + above;                                                                    \
        const double negative = f64_of_bits(bits >> 63 | 0x4330000000000000ull) - 0x1p52; /* 0 or 1, no branch */     \
        const double sign = negative * (magnitude > 0 ? sign_code : zero_code);                                      \
        const double special = beyond + negative * (below - beyond);                                                 \
        codes[i] = magnitude <= largest ? magnitude + sign : special;                                                \
        odd += (y[i] >= least && y[i] <= most) ? 0.0 : 1.0;                                                          \
    }

/* codes (OUT): codes of y as float64. Returns 0 where a value needs float_code_counted: NaN, negative and unsigned,
 * infinite where finite values of that size become the largest. */
static int float_codes_block(const double *restrict y, double *restrict codes, const double *restrict t, size_t n,
                             const lpnum_format *f, int rounding, int overflow) {
    const int m = f->mantissa_bits;
    const uint64_t lowest = (uint64_t)(1023 + f->min_exponent);
    const double base = 0x1p52 + (double)lowest, unit = (double)(1 << m), largest = f->finite_max;
    const double sign_code = f->sign_mask, zero_code = f->negative_zero ? f->sign_mask : 0;
    const int directed = rounding != LPNUM_NEAREST_EVEN && rounding != LPNUM_NEAREST_AWAY && rounding != LPNUM_STOCHASTIC;
    const double most = overflow == LPNUM_IEEE && directed ? DBL_MAX : (double)INFINITY;
    const double least = f->sign_mask ? -most : 0.0;
    const double beyond = overflows_to_special(overflow, rounding, 0) ? special_code(f, 0) : f->finite_max;
    const double below = overflows_to_special(overflow, rounding, 1) ? special_code(f, 1) : f->finite_max | f->sign_mask;
    double odd = 0;
    if (m == 0 || f->min_exponent > m) return 0; /* rare formats, whose ties or tiny values take the complete path */
    switch (rounding) {
    case LPNUM_NEAREST_EVEN: FLOAT_LOOP(round_even(r)) break;
    case LPNUM_NEAREST_AWAY: FLOAT_LOOP(round_away(r)) break;
    case LPNUM_TOWARDS_ZERO: FLOAT_LOOP(round_trunc(r)) break;
    case LPNUM_TOWARDS_POSITIVE: FLOAT_LOOP(round_ceil(r)) break;
    case LPNUM_TOWARDS_NEGATIVE: FLOAT_LOOP(round_floor(r)) break;
    default: FLOAT_LOOP(round_stochastic(r, t[i])) break;
    }
    return odd == 0;
}
#undef FLOAT_LOOP
