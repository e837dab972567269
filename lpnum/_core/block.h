/* Block formats: elements of up to 8 bits that share a scale of up to 8 bits, value = tensor_scale * scale * element.
 *
 * Blocks are contiguous and follow each other. A group of them that fits the first-level cache goes through three
 * steps: the largest magnitudes, the scales, the elements. Scales that are powers of two take float32 elements through
 * the codec of float32 (x * 2^-k is exact, or so small that no rounding mode of that codec can tell); other scales
 * compare float32 with the boundaries between codes, rounded so that the comparison is exact. Everything else is
 * float64, with quotients rounded to odd, so that rounding them to an element is rounding the exact quotient.
 */
#include <float.h>
#include <string.h>

enum { GROUP = 1024 };

/* What a block contains besides finite numbers. */
enum { HAS_INFINITY = 1, HAS_NAN = 2 };

/* ---- the largest magnitude --------------------------------------------------------------------------------------- */

/* The largest magnitude as bits, special values included. */
static inline uint32_t largest_bits_float(const float *restrict x, size_t n) {
    uint32_t most = 0;
    size_t i = 0;
#if LPNUM_X86 && LPNUM_LEVEL == 2
    __m512i lanes = _mm512_setzero_si512();
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    for (; i + 16 <= n; i += 16)
        lanes = _mm512_max_epi32(lanes, _mm512_and_si512(_mm512_loadu_si512(x + i), magnitude));
    most = (uint32_t)_mm512_reduce_max_epi32(lanes);
#elif LPNUM_X86 && LPNUM_LEVEL == 1
    __m256i lanes = _mm256_setzero_si256();
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    for (; i + 8 <= n; i += 8)
        lanes = _mm256_max_epi32(lanes, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(x + i)), magnitude));
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    most = (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
#endif
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof(bits));
        bits &= 0x7FFFFFFF;
        most = bits > most ? bits : most;
    }
    return most;
}

static inline uint64_t largest_bits_double(const double *restrict x, size_t n) {
    uint64_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = bits_of_f64(x[i]) & ((uint64_t)-1 >> 1);
        most = bits > most ? bits : most;
    }
    return most;
}

enum { LANES16 = 16 }; /* blocks are short: loops of a known length become whole registers */

#define LARGEST_BITS(type, uint, infinity)                                                                             \
    /* largest magnitude as bits, of those below the limit */                                                          \
    static inline uint largest_below_##type(const type *restrict x, size_t n, uint limit) {                            \
        uint most = 0;                                                                                                 \
        for (size_t i = 0; i < n; i++) {                                                                               \
            uint bits;                                                                                                 \
            memcpy(&bits, &x[i], sizeof(bits));                                                                        \
            bits &= ~(uint)0 >> 1;                                                                                   \
            bits = bits < limit ? bits : 0;                                                                            \
            most = bits > most ? bits : most;                                                                          \
        }                                                                                                              \
        return most;                                                                                                   \
    }                                                                                                                  \
    static inline double magnitude_##type(uint bits) {                                                                 \
        type v;                                                                                                        \
        memcpy(&v, &bits, sizeof(v));                                                                                  \
        return (double)v;                                                                                              \
    }                                                                                                                  \
    /* most (OUT): largest magnitude of each block; has (OUT): its special values. Returns all of those. */            \
    static int largest_of_blocks_##type(const type *restrict x, size_t blocks, size_t length, int infinities,          \
                                        double *restrict most, uint8_t *restrict has) {                                \
        int any = 0;                                                                                                   \
        for (size_t b = 0; b < blocks; b++) {                                                                          \
            const type *block = x + b * length;                                                                        \
            uint bits = largest_bits_##type(block, length);                                                            \
            has[b] = 0;                                                                                                \
            if (bits >= infinity) {                                                                                    \
                has[b] = bits > infinity ? HAS_NAN : 0;                                                                \
                if (largest_below_##type(block, length, infinity + 1) == infinity) has[b] |= HAS_INFINITY;             \
                bits = largest_below_##type(block, length, infinity + (infinities ? 1 : 0));                           \
                any |= has[b];                                                                                         \
            }                                                                                                          \
            most[b] = magnitude_##type(bits);                                                                          \
        }                                                                                                              \
        return any;                                                                                                    \
    }

LARGEST_BITS(float, uint32_t, 0x7F800000u)
LARGEST_BITS(double, uint64_t, 0x7FF0000000000000ull)
#undef LARGEST_BITS

static double largest_finite(const void *x, int dtype, size_t n) {
    return dtype == LPNUM_F32 ? magnitude_float(largest_below_float((const float *)x, n, 0x7F800000u))
                              : magnitude_double(largest_below_double((const double *)x, n, 0x7FF0000000000000ull));
}

/* ---- scales ------------------------------------------------------------------------------------------------------ */

/* Powers of two: exponent and mantissa of the largest magnitude decide; see BlockFormat.scale_rule. */
static void power_scales(const lpnum_block_format *f, const double *restrict most, size_t blocks,
                         uint8_t *restrict codes) {
    const int64_t lowest = f->scale->zero ? 1 : 0, highest = f->scale->finite_max, shift = f->shift;
    const int64_t threshold = f->threshold, stays = f->tie == LPNUM_TIE_DOWN, even = f->tie == LPNUM_TIE_EVEN;
    for (size_t b = 0; b < blocks; b++) {
        const int64_t bits = (int64_t)bits_of_f64(most[b]);
        const int64_t mantissa = bits & 0xFFFFFFFFFFFFFll;
        int64_t code = (bits >> 52) + shift;
        code += mantissa >= threshold + (stays | (even & ~code));
        code = code < lowest ? lowest : code;
        codes[b] = (uint8_t)(code > highest ? highest : code);
    }
}

/* x / d rounded to odd: exact in every later comparison with a number of fewer bits. d > 0. */
static inline double odd_quotient(double x, double d) {
    const double q = x / d, rest = fma(-q, d, x);
    if (rest == 0 || !(fabs(q) <= DBL_MAX)) return q;
    const uint64_t bits = bits_of_f64(q);
    return f64_of_bits((bits - (bits << 1 != 0 && (rest < 0) != (x < 0))) | 1);
}

/* Other scales: most / (largest element * tensor scale), rounded to the scale's format, but never 0. */
static void quotient_scales(const lpnum_block_format *f, const double *restrict most, size_t blocks,
                            double tensor_scale, uint8_t *restrict codes) {
    const int rounding = f->scale_up ? LPNUM_TOWARDS_POSITIVE : LPNUM_NEAREST_EVEN;
    const lpnum_policy clamp = {.rounding = rounding, .overflow = LPNUM_CLAMP};
    const double reference = f->largest * tensor_scale; /* exact: 8 + 24 bits */
    double quotients[BLOCK], rounded[BLOCK];
    for (size_t first = 0; first < blocks; first += BLOCK) {
        const size_t n = blocks - first < BLOCK ? blocks - first : BLOCK;
        for (size_t b = 0; b < n; b++) quotients[b] = odd_quotient(most[first + b], reference);
        if (!float_codes_block(quotients, rounded, quotients, n, f->scale, rounding, LPNUM_CLAMP)) {
            lpnum_events ignored = {0};
            for (size_t b = 0; b < n; b++)
                rounded[b] = float_code_counted(quotients[b], 0, rounding, f->scale, 0, &clamp, &ignored);
        }
        for (size_t b = 0; b < n; b++) codes[first + b] = (uint8_t)(rounded[b] < 1 && f->scale->zero ? 1 : rounded[b]);
    }
}

/* ---- elements: float64, every policy ----------------------------------------------------------------------------- */

/* One fixed-point element; the range is symmetric, see BlockFormat. */
static double fixed_element(double y, double threshold, const lpnum_format *f, uint64_t index, const lpnum_policy *p,
                            lpnum_events *e) {
    if (y != y) {
        if (e->invalid++ == 0) e->first_invalid = (int64_t)index;
        return 0;
    }
    const double highest = f->code_max, lowest = f->code_min < 0 ? -highest : 0;
    const double q = round_any(y, p->rounding, threshold);
    if (q != y) e->inexact++;
    if (q == 0 && y != 0) e->underflow++;
    if (q > highest || q < lowest) {
        if (e->overflow++ == 0) e->first_overflow = (int64_t)index;
        return q > 0 ? highest : lowest;
    }
    return q;
}

/* Elements first .. first + n - 1 of a block with the scale d, n <= BLOCK. */
static void elements_f64(const lpnum_block_format *f, const double *restrict x, double d, uint8_t *restrict codes,
                         size_t n, uint64_t index, const lpnum_policy *p, lpnum_events *e) {
    double y[BLOCK], q[BLOCK], t[BLOCK];
    d *= f->unit;
    if (f->power_of_two) {
        const double inverse = 1.0 / d;
        for (size_t i = 0; i < n; i++) {
            y[i] = x[i] * inverse;
            if (y[i] == 0 && x[i] != 0) y[i] = copysign(DBL_TRUE_MIN, x[i]);
        }
    } else {
        for (size_t i = 0; i < n; i++) y[i] = odd_quotient(x[i], d);
    }
    if (p->rounding == LPNUM_STOCHASTIC) thresholds_block(t, p, index, n);
    const int counted = p->count || p->overflow == LPNUM_ERROR || !f->element->is_float;
    if (counted || !float_codes_block(y, q, t, n, f->element, p->rounding, p->overflow)) {
        for (size_t i = 0; i < n; i++) {
            const double threshold = p->rounding == LPNUM_STOCHASTIC ? t[i] : 0;
            q[i] = f->element->is_float ? float_code_counted(y[i], threshold, p->rounding, f->element, index + i, p, e)
                                        : fixed_element(y[i], threshold, f->element, index + i, p, e);
        }
    }
    for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(int)q[i];
}

/* ---- elements: float32 ------------------------------------------------------------------------------------------- */

static inline float f32_of_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* y <- x * a * b */
static inline void scale_floats(const float *restrict x, float a, float b, float *restrict y, size_t n) {
    size_t i = 0;
    for (; i + LANES16 <= n; i += LANES16)
        for (size_t k = i; k < i + LANES16; k++) y[k] = x[k] * a * b;
    for (; i < n; i++) y[i] = x[i] * a * b;
}

/* Fixed-point codes of y * inverse_unit, y without NaN. words: NULL for nearest-even. */
static void fixed_elements_f32(const float *restrict y, float inverse_unit, uint8_t *restrict codes,
                               const uint16_t *restrict words, int random_bits, size_t n, const lpnum_format *f) {
    const float highest = (float)f->code_max, lowest = f->code_min < 0 ? -highest : 0.0f, magic = 0x1.8p23f;
    const float unit = 1.0f / (float)(1 << random_bits);
    const int shift = 16 - random_bits;
    for (size_t i = 0; i < n; i++) {
        float v = y[i] * inverse_unit;
        v = v < lowest ? lowest : v;
        v = v > highest ? highest : v;
        float q = (v + magic) - magic;
        if (words) {
            const float down = q - (q > v ? 1.0f : 0.0f), threshold = 1.0f - ((float)(words[i] >> shift) + 0.5f) * unit;
            q = down + (v - down >= threshold ? 1.0f : 0.0f);
        }
        codes[i] = (uint8_t)(int32_t)q;
    }
}

/* Does a group of float32 blocks without special values take one of the two fast ways? */
static int powers_f32_applies(const lpnum_block_format *f, const lpnum_policy *p) {
    const lpnum_format *s = f->scale;
    if (!f->power_of_two || s->min_exponent < -127 || s->finite_max + s->min_exponent - (s->zero ? 1 : 0) > 127)
        return 0;
    /* where x * 2^-k underflows, rounding away from zero would take a number for 0 */
    if (p->rounding == LPNUM_TOWARDS_POSITIVE || p->rounding == LPNUM_TOWARDS_NEGATIVE) return 0;
    if (f->element->is_float) return encode_f32_applies(f->element, p, 0);
    if (p->count || p->overflow != LPNUM_CLAMP || f->element->code_max > 255 || !(fabs(f->unit) >= 0x1p-64)) return 0;
    return p->rounding == LPNUM_NEAREST_EVEN || (p->rounding == LPNUM_STOCHASTIC && p->random_bits <= 16);
}

static int boundaries_f32_applies(const lpnum_block_format *f, const lpnum_policy *p) {
    const lpnum_format *g = f->element;
    if (!g->is_float || !g->zero || !g->sign_mask || !g->negative_zero || g->finite_max > 7 || f->block > GROUP)
        return 0;
    return p->rounding == LPNUM_NEAREST_EVEN && p->overflow == LPNUM_CLAMP && !p->count;
}

/* Returns 0 if the group needs float64. */
static int group_by_powers(const lpnum_block_format *f, const float *restrict x, const double *restrict scales,
                           size_t blocks, uint8_t *restrict codes, uint64_t index, const lpnum_policy *p) {
    float y[GROUP];
    uint16_t words[GROUP + 80]; /* the codec reads whole registers */
    const int stochastic = p->rounding == LPNUM_STOCHASTIC;
    const size_t total = blocks * f->block;
    for (size_t first = 0; first < total; first += GROUP) { /* more than once only for a block longer than GROUP */
        const size_t n = total - first < GROUP ? total - first : GROUP, length = n < f->block ? n : f->block;
        const size_t skip = (size_t)((index + first) % 8);
        for (size_t b = 0; b * length < n; b++) {
            const float inverse = (float)(1.0 / scales[b]);
            scale_floats(x + first + b * length, inverse, 1.0f, y + b * length, length);
        }
        if (stochastic)
            ars_fill((uint8_t *)words, (ars_key){p->seed, p->stream}, (index + first) / 8, (skip + n + 7) / 8);
        const uint16_t *w = stochastic ? words + skip : NULL;
        const int random_bits = stochastic ? p->random_bits : 16;
        if (!f->element->is_float)
            fixed_elements_f32(y, (float)(1.0 / f->unit), codes + first, w, random_bits, n, f->element);
        else if (!encode_f32_block(y, codes + first, w, random_bits, n, f->element, p->rounding, p->overflow))
            return 0;
    }
    return 1;
}

/* Nearest-even by comparison: |x| reaches code k from boundary * d on, the boundary included if k is even. A float32
 * reaches a float64 if it reaches it rounded up to float32. */
static void group_by_boundaries(const lpnum_block_format *f, const float *restrict x, const double *restrict scales,
                                size_t blocks, uint8_t *restrict codes) {
    const int largest = f->element->finite_max, sign_mask = f->element->sign_mask;
    int32_t boundaries[7][GROUP], wide[GROUP];
    for (int k = 0; k < 7; k++) {
        const int used = k < largest;
        const double middle = used ? 0.5 * (float_value(f->element, k) + float_value(f->element, k + 1)) : 1.0;
        for (size_t b = 0; b < blocks; b++) {
            const double t = middle * scales[b]; /* exact: at most 4 + 28 bits */
            const float near = (float)t;
            int32_t bits;
            memcpy(&bits, &near, sizeof(bits));
            bits += (double)near < t || (k % 2 == 0 && (double)near == t);
            boundaries[k][b] = used ? bits : INT32_MAX;
        }
    }
    for (size_t b = 0; b < blocks; b++) {
        const int32_t b0 = boundaries[0][b], b1 = boundaries[1][b], b2 = boundaries[2][b], b3 = boundaries[3][b];
        const int32_t b4 = boundaries[4][b], b5 = boundaries[5][b], b6 = boundaries[6][b];
        const float *values = x + b * f->block;
        int32_t *out = wide + b * f->block;
        for (size_t i = 0; i < f->block; i++) {
            int32_t bits;
            memcpy(&bits, &values[i], sizeof(bits));
            const int32_t a = bits & 0x7FFFFFFF;
            const int32_t code = (a >= b0) + (a >= b1) + (a >= b2) + (a >= b3) + (a >= b4) + (a >= b5) + (a >= b6);
            out[i] = code + (bits >> 31 & sign_mask);
        }
    }
    for (size_t i = 0; i < blocks * f->block; i++) codes[i] = (uint8_t)wide[i];
}

/* ---- a group, all blocks ----------------------------------------------------------------------------------------- */

/* Blocks that must become NaN as a whole: special values that the elements cannot hold. */
static int becomes_nan(const lpnum_block_format *f, const lpnum_policy *p, int has) {
    const lpnum_format *g = f->element;
    if (g->is_float && g->nan_code >= 0) return 0;
    const int infinity_lost = p->overflow == LPNUM_IEEE && !(g->is_float && g->inf_code >= 0);
    return (has & HAS_NAN) || (infinity_lost && (has & HAS_INFINITY));
}

static void group_f64(const lpnum_block_format *f, int dtype, const char *x, const double *scales,
                      const uint8_t *nan_blocks, size_t blocks, uint8_t *codes, uint64_t index, const lpnum_policy *p,
                      lpnum_events *e) {
    double v[BLOCK];
    const ptrdiff_t size = dtype == LPNUM_F32 ? sizeof(float) : sizeof(double);
    for (size_t b = 0; b < blocks; b++) {
        for (size_t first = b * f->block; first < (b + 1) * f->block;) {
            const size_t left = (b + 1) * f->block - first, n = left < BLOCK ? left : BLOCK;
            if (nan_blocks[b]) {
                memset(codes + first, 0, n);
            } else {
                load_raw(v, dtype, x + (ptrdiff_t)first * size, size, n);
                elements_f64(f, v, scales[b], codes + first, n, index + first, p, e);
            }
            first += n;
        }
    }
}

/* codes (OUT): elements of all blocks, packed if the format packs them; scales (OUT): one code for each block. `work`
 * has room for one group of codes, or one block if that is longer. Returns an lpnum_status. */
static int quantize_blocks(const lpnum_block_format *f, int dtype, const void *x, size_t n_blocks, double tensor_scale,
                           uint8_t *codes, uint8_t *scales, uint8_t *work, const lpnum_policy *p, lpnum_events *e) {
    const size_t size = dtype == LPNUM_F32 ? sizeof(float) : sizeof(double);
    const size_t per_group = f->block < GROUP ? GROUP / f->block : 1;
    const int powers = dtype == LPNUM_F32 && powers_f32_applies(f, p);
    const int boundaries = dtype == LPNUM_F32 && !f->power_of_two && boundaries_f32_applies(f, p);
    double most[GROUP], step[GROUP];
    uint8_t has[GROUP];
    for (size_t first = 0; first < n_blocks; first += per_group) {
        const size_t blocks = n_blocks - first < per_group ? n_blocks - first : per_group, n = blocks * f->block;
        const char *values = (const char *)x + first * f->block * size;
        const uint64_t index = p->first_index + first * f->block;
        uint8_t *target = f->packed ? work : codes + first * f->block;
        const int infinities = p->overflow != LPNUM_IEEE;
        const int special =
            dtype == LPNUM_F32
                ? largest_of_blocks_float((const float *)values, blocks, f->block, infinities, most, has)
                : largest_of_blocks_double((const double *)values, blocks, f->block, infinities, most, has);
        if (f->power_of_two)
            power_scales(f, most, blocks, scales + first);
        else
            quotient_scales(f, most, blocks, tensor_scale, scales + first);
        for (size_t b = 0; b < blocks; b++) step[b] = f->scale->values[scales[first + b]] * tensor_scale;
        if (special || !(powers || boundaries) ||
            (powers && !group_by_powers(f, (const float *)values, step, blocks, target, index, p))) {
            for (size_t b = 0; b < blocks; b++) {
                has[b] = (uint8_t)becomes_nan(f, p, has[b]);
                if (has[b] && f->scale->nan_code < 0 && e->invalid++ == 0)
                    e->first_invalid = (int64_t)(index + b * f->block);
                if (has[b] && f->scale->nan_code >= 0) scales[first + b] = (uint8_t)f->scale->nan_code;
            }
            group_f64(f, dtype, values, step, has, blocks, target, index, p, e);
        } else if (boundaries) {
            group_by_boundaries(f, (const float *)values, step, blocks, target);
        }
        if (f->packed) pack4(work, codes + first * f->block / 2, n, !f->element->is_float && f->element->code_min < 0);
    }
    e->total += (int64_t)(n_blocks * f->block);
    return row_status(p, e);
}
