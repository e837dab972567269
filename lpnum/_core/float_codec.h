/* Small floats: values of codes and codes of values, for every format by the same arithmetic.
 *
 * A float format is a fixed-point grid whose step depends on the value: with e = max(exponent of y, min_exponent),
 * r = y * 2^(mantissa_bits - e) is exact, the rounding is that of rounding.h to an integer q, and the magnitude of the
 * code is |q| + (e - min_exponent) * 2^mantissa_bits: a carry of the rounding moves on to the next exponent by itself,
 * and subnormals are the case e = min_exponent. Nothing here names a format.
 */
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

/* v (IN/OUT): codes as float64 -> their values. */
static void float_values_block(double *restrict v, const lpnum_format *f, size_t n) {
    if (f->values) {
        for (size_t i = 0; i < n; i++) v[i] = f->values[(int)v[i]];
    } else {
        for (size_t i = 0; i < n; i++) v[i] = float_value(f, (int)v[i]);
    }
}

/* ---- encode ------------------------------------------------------------------------------------------------------- */

/* Does a magnitude beyond the range become infinite (or NaN, without infinities), or the largest finite value? */
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
        const double r = y * power_of_two(m - exponent);
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
        if (overflows_to_special(p->overflow, rounding, negative)) return special_code(f, negative);
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
        odd += y[i] >= least ? 0.0 : 1.0;                                                                            \
    }

/* codes (OUT): codes of y as float64. Returns 0 where a value needs float_code_counted: NaN, negative and unsigned. */
static int float_codes_block(const double *restrict y, double *restrict codes, const double *restrict t, size_t n,
                             const lpnum_format *f, int rounding, int overflow) {
    const int m = f->mantissa_bits;
    const uint64_t lowest = (uint64_t)(1023 + f->min_exponent);
    const double base = 0x1p52 + (double)lowest, unit = (double)(1 << m), largest = f->finite_max;
    const double sign_code = f->sign_mask, zero_code = f->negative_zero ? f->sign_mask : 0;
    const double least = f->sign_mask ? -(double)INFINITY : 0.0;
    const double beyond = overflows_to_special(overflow, rounding, 0) ? special_code(f, 0) : f->finite_max;
    const double below = overflows_to_special(overflow, rounding, 1) ? special_code(f, 1) : f->finite_max | f->sign_mask;
    double odd = 0;
    if (m == 0) return 0; /* rare formats: their ties are decided by the complete path */
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

/* ---- float32 -> 8-bit codes at scale 1: the same in 32-bit lanes, which hold everything exactly ------------------- */

static inline int encode_f32_applies(const lpnum_format *f, const lpnum_policy *p) {
    const int top_exponent = (f->finite_max >> f->mantissa_bits) + f->min_exponent; /* at least that of the next value */
    if (f->mantissa_bits == 0 || f->mantissa_bits > 6 || f->min_exponent < -100 || top_exponent > 120) return 0;
    if (f->finite_max > 254) return 0; /* the code after it, which marks overflow, has to fit a byte */
    if (p->count || p->dry_run || p->has_nan_code) return 0;
    if (p->overflow != LPNUM_CLAMP && p->overflow != LPNUM_IEEE) return 0;
    return p->rounding == LPNUM_NEAREST_EVEN || (p->rounding == LPNUM_STOCHASTIC && p->random_bits <= 16);
}

#define ENCODE_F32_LOOP(ROUND)                                                                                  \
    for (size_t i = done; i < n; i++) {                                                                            \
        uint32_t bits;                                                                                          \
        memcpy(&bits, &x[i], 4);                                                                                \
        const int32_t plain = (int32_t)(bits & 0x7FFFFFFF);                                                     \
        int32_t biased = plain >> 23;                                                                           \
        biased = biased < lowest ? lowest : biased;                                                             \
        biased = biased > 254 ? 254 : biased; /* infinity: the factor must not be 0 */                          \
        const int32_t factor_bits = (254 + m - biased) << 23;                                                   \
        float factor, r;                                                                                        \
        memcpy(&factor, &factor_bits, 4);                                                                       \
        r = x[i] * factor;                                                                                      \
        r = r < -bound ? -bound : r; /* infinity */                                                             \
        r = r > bound ? bound : r;                                                                              \
        const float q = ROUND;                                                                                  \
        const int32_t magnitude = (int32_t)fabsf(q) + ((biased - lowest) << m);                                 \
        const int32_t negative = (int32_t)bits >> 31; /* 0 or -1 */                                             \
        int32_t code = magnitude + (negative & sign_mask);                                                      \
        code = magnitude == 0 ? negative & zero_mask : code;                                                    \
        code = magnitude > largest ? (negative ? below : beyond) : code;                                        \
        odd |= (plain > 0x7F800000) | (negative & unsigned_mask & (plain != 0));                                \
        codes[i] = (uint8_t)(plain > 0x7F800000 ? nan_code : code);                                             \
    }

typedef struct {
    int m, lowest, largest, sign_mask, zero_mask, unsigned_mask, nan_code, beyond, below;
    int limit_bits; /* float32 bits of the value after the largest finite one; all that rounds to more may stand there */
} f32_codes;

static inline f32_codes f32_codes_of(const lpnum_format *f, int rounding, int overflow) {
    f32_codes c = {f->mantissa_bits, 127 + f->min_exponent, f->finite_max, f->sign_mask,
                   f->negative_zero ? f->sign_mask : 0, f->sign_mask ? 0 : -1, f->nan_code, f->finite_max,
                   f->finite_max | f->sign_mask, 0};
    const int after = f->finite_max + 1, field = after >> f->mantissa_bits;
    const int significand = (after & ((1 << f->mantissa_bits) - 1)) + (field ? 1 << f->mantissa_bits : 0);
    const float limit = (float)(significand * power_of_two((field ? field - 1 : 0) + f->min_exponent - f->mantissa_bits));
    memcpy(&c.limit_bits, &limit, 4);
    if (overflows_to_special(overflow, rounding, 0)) c.beyond = special_code(f, 0);
    if (overflows_to_special(overflow, rounding, 1)) c.below = special_code(f, 1);
    return c;
}

#if LPNUM_X86 && LPNUM_LEVEL == 2
/* Nearest-even on magnitudes; signs, overflow and NaN are put in for 64 bytes at a time. */
static size_t encode_f32_nearest(const float *restrict x, uint8_t *restrict codes, size_t n, const f32_codes *c, int *odd) {
    const __m512i lowest = _mm512_set1_epi32(c->lowest), limit = _mm512_set1_epi32(c->limit_bits);
    const __m512i factor_base = _mm512_set1_epi32(254 + c->m), infinity = _mm512_set1_epi32(0x7F800000);
    const __m512i all_but_sign = _mm512_set1_epi32(0x7FFFFFFF), after = _mm512_set1_epi8((char)(c->largest + 1));
    const __m128i shift = _mm_cvtsi32_si128(c->m);
    __mmask64 seen = 0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m128i part[4];
        __mmask64 negative = 0, nan = 0;
        for (int k = 0; k < 4; k++) {
            const __m512i bits = _mm512_loadu_si512(x + i + 16 * (size_t)k), plain = _mm512_and_si512(bits, all_but_sign);
            negative |= (__mmask64)_mm512_movepi32_mask(bits) << (16 * k);
            nan |= (__mmask64)_mm512_cmpgt_epi32_mask(plain, infinity) << (16 * k);
            const __m512i inside = _mm512_min_epi32(plain, limit);
            const __m512i biased = _mm512_max_epi32(_mm512_srli_epi32(inside, 23), lowest);
            const __m512 factor = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(factor_base, biased), 23));
            const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_castsi512_ps(inside), factor));
            const __m512i above = _mm512_sll_epi32(_mm512_sub_epi32(biased, lowest), shift);
            part[k] = _mm512_cvtepi32_epi8(_mm512_add_epi32(q, above));
        }
        const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(part[0]), part[1], 1);
        const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(part[2]), part[3], 1);
        const __m512i magnitude = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        const __mmask64 over = _mm512_cmpeq_epi8_mask(magnitude, after), some = _mm512_test_epi8_mask(magnitude, magnitude);
        __m512i code = _mm512_mask_add_epi8(magnitude, negative & some, magnitude, _mm512_set1_epi8((char)c->sign_mask));
        code = _mm512_mask_mov_epi8(code, negative & ~some, _mm512_set1_epi8((char)c->zero_mask));
        code = _mm512_mask_mov_epi8(code, over, _mm512_set1_epi8((char)c->beyond));
        code = _mm512_mask_mov_epi8(code, over & negative, _mm512_set1_epi8((char)c->below));
        code = _mm512_mask_mov_epi8(code, nan, _mm512_set1_epi8((char)c->nan_code));
        seen |= nan | (c->unsigned_mask ? negative : 0); /* an unsigned -0 takes the complete path as well */
        _mm512_storeu_si512(codes + i, code);
    }
    *odd = seen != 0;
    return i;
}

/* Stochastic, and the last elements of nearest-even: the loop above ENCODE_F32_LOOP written with masks, on which the
 * compiler spends twice the instructions. Sets *odd for NaN and for negative values of an unsigned format. */
static size_t encode_f32_vectors(const float *restrict x, uint8_t *restrict codes, const uint16_t *restrict words,
                                 int random_bits, size_t n, const f32_codes *c, int *odd) {
    const __m512i lowest = _mm512_set1_epi32(c->lowest), largest = _mm512_set1_epi32(c->largest);
    const __m512i factor_base = _mm512_set1_epi32(254 + c->m), exponent_max = _mm512_set1_epi32(254);
    const __m512i infinity = _mm512_set1_epi32(0x7F800000), all_but_sign = _mm512_set1_epi32(0x7FFFFFFF);
    const __m512 bound = _mm512_set1_ps((float)(4 << c->m)), unit = _mm512_set1_ps(1.0f / (float)(1 << random_bits));
    const __m128i shift = _mm_cvtsi32_si128(c->m), word_shift = _mm_cvtsi32_si128(16 - random_bits);
    __mmask16 seen = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512i bits = _mm512_loadu_si512(x + i), plain = _mm512_and_si512(bits, all_but_sign);
        const __mmask16 negative = _mm512_movepi32_mask(bits), nan = _mm512_cmpgt_epi32_mask(plain, infinity);
        const __m512i biased =
            _mm512_min_epi32(_mm512_max_epi32(_mm512_srli_epi32(plain, 23), lowest), exponent_max);
        const __m512 factor = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(factor_base, biased), 23));
        __m512i q;
        if (words) { /* up where r >= floor(r) + 1 - u; every term is exact */
            const __m512 r = _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), bound),
                                           _mm512_min_ps(bound, _mm512_mul_ps(_mm512_castsi512_ps(bits), factor)));
            const __m512i w = _mm512_srl_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(words + i))), word_shift);
            const __m512 u = _mm512_mul_ps(_mm512_add_ps(_mm512_cvtepi32_ps(w), _mm512_set1_ps(0.5f)), unit);
            const __m512 down = _mm512_roundscale_ps(r, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
            const __m512 next = _mm512_add_ps(down, _mm512_set1_ps(1.0f));
            const __mmask16 up = _mm512_cmp_ps_mask(r, _mm512_sub_ps(next, u), _CMP_GE_OQ);
            q = _mm512_abs_epi32(_mm512_cvtps_epi32(_mm512_mask_mov_ps(down, up, next)));
        } else {
            q = _mm512_cvtps_epi32(_mm512_min_ps(bound, _mm512_mul_ps(_mm512_castsi512_ps(plain), factor)));
        }
        const __m512i magnitude = _mm512_add_epi32(q, _mm512_sll_epi32(_mm512_sub_epi32(biased, lowest), shift));
        const __mmask16 over = _mm512_cmpgt_epi32_mask(magnitude, largest), some = _mm512_test_epi32_mask(magnitude, magnitude);
        __m512i code = _mm512_mask_or_epi32(magnitude, negative & some, magnitude, _mm512_set1_epi32(c->sign_mask));
        code = _mm512_mask_mov_epi32(code, negative & (__mmask16)~some, _mm512_set1_epi32(c->zero_mask));
        code = _mm512_mask_mov_epi32(code, over, _mm512_set1_epi32(c->beyond));
        code = _mm512_mask_mov_epi32(code, over & negative, _mm512_set1_epi32(c->below));
        code = _mm512_mask_mov_epi32(code, nan, _mm512_set1_epi32(c->nan_code));
        seen |= nan | (c->unsigned_mask ? negative & _mm512_test_epi32_mask(plain, plain) : 0);
        _mm_storeu_si128((__m128i *)(codes + i), _mm512_cvtepi32_epi8(code));
    }
    *odd = seen != 0;
    return i;
}
#else
static size_t encode_f32_nearest(const float *restrict x, uint8_t *restrict codes, size_t n, const f32_codes *c, int *odd) {
    (void)x, (void)codes, (void)n, (void)c;
    *odd = 0;
    return 0;
}

static size_t encode_f32_vectors(const float *restrict x, uint8_t *restrict codes, const uint16_t *restrict words,
                                 int random_bits, size_t n, const f32_codes *c, int *odd) {
    (void)x, (void)codes, (void)words, (void)random_bits, (void)n, (void)c;
    *odd = 0;
    return 0;
}
#endif

/* words: one for each element (NULL: nearest-even). Returns 0 if there is something for float_code_counted. */
static int encode_f32_block(const float *restrict x, uint8_t *restrict codes, const uint16_t *restrict words,
                            int random_bits, size_t n, const lpnum_format *f, int rounding, int overflow) {
    const f32_codes c = f32_codes_of(f, rounding, overflow);
    const int32_t m = c.m, lowest = c.lowest, largest = c.largest, sign_mask = c.sign_mask, zero_mask = c.zero_mask;
    const int32_t unsigned_mask = c.unsigned_mask, nan_code = c.nan_code, beyond = c.beyond, below = c.below;
    const float magic = 0x1.8p23f, bound = (float)(4 << m), unit = 1.0f / (float)(1 << random_bits);
    int odd = 0, odd_rest;
    const size_t first = words ? 0 : encode_f32_nearest(x, codes, n, &c, &odd);
    const size_t done = first + encode_f32_vectors(x + first, codes + first, words, random_bits, n - first, &c, &odd_rest);
    odd |= odd_rest;
    if (!words) {
        ENCODE_F32_LOOP((r + magic) - magic)
    } else { /* u = (word + 1/2) / 2^k; up where r >= floor(r) + 1 - u, every term exact in float32 */
        ENCODE_F32_LOOP(({
            const float u = ((float)(words[i] >> (16 - random_bits)) + 0.5f) * unit;
            const float even = (r + magic) - magic, down = even - (even > r ? 1.0f : 0.0f);
            down + (r >= (down + 1.0f) - u ? 1.0f : 0.0f);
        }))
    }
    return !(odd && (f->nan_code < 0 || !f->sign_mask));
}
#undef ENCODE_F32_LOOP
