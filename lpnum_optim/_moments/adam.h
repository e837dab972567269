/* One step of Adam on moments of 8 bits, in one pass over parameter, gradient and codes.
 *
 * v of a block: value = 2^(scale - 127) * a float of 5 exponent and 3 mantissa bits without sign. The scale is the
 * smallest one for which the largest element is in range, so it only moves the range: between two steps no code changes
 * for its sake, subnormal ones excepted. A v > 0 never becomes 0: its code is at least 1.
 *
 * m of an element is stored relative to a power of two h within a factor sqrt(2) of sqrt(v), v as it is stored:
 * |m| / sqrt(v) is bounded (by 7.3 for the usual betas) and what the update needs. So m = 2^(scale - 127) * code / 64 * h.
 *
 * All scales are powers of two: the arithmetic of the codes is exact but for the rounding, which is stochastic.
 * Element i takes the 32-bit word i of the stream, its low half for v, its high half for m: (half + 1/2) / 2^16 is added
 * to what is below the code, then cut off.
 */
#include <string.h>

enum { CHUNK = 16 * ADAM_BLOCK };

static const int SCALE_LOWEST = 1, SCALE_HIGHEST = 253; /* 2^-126 .. 2^126: float32 holds the inverse, too */
static const int32_t SECOND_NORMAL = (128 - SECOND_BIAS) << 23; /* float32 bits of the smallest normal code */

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* As bits; those of NaN are above all others. */
static inline uint32_t largest_magnitude(const float *restrict x, size_t n) {
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t bits = (int32_t)(bits_of_float(x[i]) & 0x7FFFFFFF);
        most = bits > most ? bits : most;
    }
    return (uint32_t)most;
}

static float largest(const float *x, size_t n) { return float_of(largest_magnitude(x, n)); }

/* Scale of a block whose largest magnitude has these bits: the smallest 2^k with largest <= top * 2^k, 1 <= top < 2. */
static inline uint8_t scale_of(uint32_t largest, float top) {
    const int scale = (int)(largest >> 23) + ((largest & 0x7FFFFF) > (bits_of_float(top) & 0x7FFFFF));
    return (uint8_t)(scale < SCALE_LOWEST ? SCALE_LOWEST : scale > SCALE_HIGHEST ? SCALE_HIGHEST : scale);
}

static inline float power_of_scale(int scale) { return float_of((uint32_t)scale << 23); }

/* ---- v ----------------------------------------------------------------------------------------------------------- */

static inline float second_value(int32_t code, float scale) {
    const float small = (float)code * power_of_scale(128 - SECOND_BIAS - SECOND_MANTISSA);
    const float normal = float_of((uint32_t)((code << (23 - SECOND_MANTISSA)) + ((127 - SECOND_BIAS) << 23)));
    return (code < 1 << SECOND_MANTISSA ? small : normal) * scale;
}

static inline int32_t second_code(float v, float inverse_scale, uint32_t word) {
    const float x = v * inverse_scale, u = ((float)(int32_t)word + 0.5f) * 0x1p-16f;
    const int32_t bits = (int32_t)bits_of_float(x);
    const int32_t sum = (int32_t)((uint32_t)bits + ((2 * word + 1) << (22 - SECOND_MANTISSA - 16)));
    const int32_t normal = (sum >> (23 - SECOND_MANTISSA)) - ((127 - SECOND_BIAS) << SECOND_MANTISSA);
    const float smallest = float_of(SECOND_NORMAL), inside = x < smallest ? x : smallest; /* an integer, also of NaN */
    const int32_t small = (int32_t)(inside * power_of_scale(126 + SECOND_BIAS + SECOND_MANTISSA) + u);
    const int32_t code = bits < SECOND_NORMAL ? small : normal, lowest = v > 0 ? 1 : 0;
    return code < lowest ? lowest : code > 255 ? 255 : code;
}

/* h and 1 / h of a stored v. */
static inline uint32_t half_exponent(float v) { return (bits_of_float(v) >> 23) / 2; }
static inline float half_power(float v) { return float_of((half_exponent(v) + 64) << 23); }
static inline float inverse_half_power(float v) { return float_of((190 - half_exponent(v)) << 23); }

/* ---- m ----------------------------------------------------------------------------------------------------------- */

static const float FIRST_TOP = 127.0f / 64.0f;

static inline int32_t first_code(float ratio, float inverse_scale, uint32_t word) {
    const float magic = 0x1.8p23f;
    float y = ratio * inverse_scale * 64.0f;
    y = y > -127.0f ? y : -127.0f; /* also NaN */
    y = y < 127.0f ? y : 127.0f;
    const float s = y + ((float)(int32_t)word + 0.5f) * 0x1p-16f, q = (s + magic) - magic;
    return (int32_t)(q - (q > s ? 1.0f : 0.0f));
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Whole blocks, n of them at most CHUNK / ADAM_BLOCK; words: one for each element. */
static void step_blocks(const adam_tensor *t, const adam_numbers *a, size_t blocks, const uint32_t *restrict words) {
    float g[CHUNK], m[CHUNK], v[CHUNK];
    const size_t n = blocks * ADAM_BLOCK;
    float *restrict p = t->parameter;
    const float *restrict gradient = t->gradient;
    int8_t *restrict first = t->first;
    uint8_t *restrict second = t->second;
    const float sign = a->sign, l2 = a->l2, keep = a->keep, take1 = a->take1, beta2 = a->beta2, take2 = a->take2;
    const float step = -a->step_size, correction = a->correction, epsilon = a->epsilon;

    for (size_t b = 0; b < blocks; b++) {
        const float scale2 = power_of_scale(t->second_scales[b]), scale1 = power_of_scale(t->first_scales[b]) * 0x1p-6f;
        for (size_t i = b * ADAM_BLOCK; i < (b + 1) * ADAM_BLOCK; i++) {
            v[i] = second_value(second[i], scale2);
            m[i] = (float)first[i] * scale1 * half_power(v[i]);
        }
    }
    if (l2 != 0)
        for (size_t i = 0; i < n; i++) g[i] = sign * gradient[i] + l2 * p[i];
    else
        for (size_t i = 0; i < n; i++) g[i] = sign * gradient[i];
    for (size_t i = 0; i < n; i++) {
        m[i] = m[i] + (g[i] - m[i]) * take1;
        v[i] = v[i] * beta2 + take2 * g[i] * g[i];
        p[i] = p[i] * keep + step * m[i] / (sqrtf(v[i]) / correction + epsilon);
    }
    for (size_t b = 0; b < blocks; b++) {
        const size_t start = b * ADAM_BLOCK;
        const int scale = scale_of(largest_magnitude(v + start, ADAM_BLOCK), 2.0f - 1.0f / (1 << SECOND_MANTISSA));
        const float value = power_of_scale(scale), inverse = power_of_scale(254 - scale);
        t->second_scales[b] = (uint8_t)scale;
        for (size_t i = start; i < start + ADAM_BLOCK; i++) {
            const int32_t code = second_code(v[i], inverse, words[i] & 0xFFFF);
            second[i] = (uint8_t)code;
            m[i] = m[i] * inverse_half_power(second_value(code, value));
        }
    }
    for (size_t b = 0; b < blocks; b++) {
        const size_t start = b * ADAM_BLOCK;
        const int scale = scale_of(largest_magnitude(m + start, ADAM_BLOCK), FIRST_TOP);
        const float inverse = power_of_scale(254 - scale);
        t->first_scales[b] = (uint8_t)scale;
        for (size_t i = start; i < start + ADAM_BLOCK; i++) first[i] = (int8_t)first_code(m[i], inverse, words[i] >> 16);
    }
}

/* The last block where it has fewer elements: on copies filled up with zeros. */
static void step_rest(const adam_tensor *t, const adam_numbers *a, const uint32_t *words) {
    float p[ADAM_BLOCK] = {0}, g[ADAM_BLOCK] = {0};
    int8_t first[ADAM_BLOCK] = {0};
    uint8_t second[ADAM_BLOCK] = {0};
    const adam_tensor whole = {p, g, first, second, t->first_scales, t->second_scales, ADAM_BLOCK};
    memcpy(p, t->parameter, t->n * sizeof(float));
    memcpy(g, t->gradient, t->n * sizeof(float));
    memcpy(first, t->first, t->n);
    memcpy(second, t->second, t->n);
    step_blocks(&whole, a, 1, words);
    memcpy(t->parameter, p, t->n * sizeof(float));
    memcpy(t->first, first, t->n);
    memcpy(t->second, second, t->n);
}

static void adam_step(const adam_tensor *t, const adam_numbers *a) {
    uint32_t words[CHUNK];
    for (size_t start = 0; start < t->n; start += CHUNK) {
        const size_t n = t->n - start < CHUNK ? t->n - start : CHUNK, blocks = n / ADAM_BLOCK, whole = blocks * ADAM_BLOCK;
        const size_t block = start / ADAM_BLOCK;
        const adam_tensor part = {t->parameter + start, t->gradient + start, t->first + start, t->second + start,
                                  t->first_scales + block, t->second_scales + block, n};
        const adam_tensor rest = {part.parameter + whole, part.gradient + whole, part.first + whole, part.second + whole,
                                  part.first_scales + blocks, part.second_scales + blocks, n - whole};
        /* a word for every element of the blocks, the last one filled up */
        ars_fill((uint8_t *)words, (ars_key){a->seed, a->stream}, (a->first_block * ADAM_BLOCK + start) / 4,
                 (blocks + (n > whole)) * (ADAM_BLOCK / 4));
        step_blocks(&part, a, blocks, words);
        if (n > whole) step_rest(&rest, a, words + whole);
    }
}
