/* float32 -> 8-bit float codes at scale 1, in 32-bit lanes, with the same codes as the float64 path of float_codec.h.
 *
 * Nearest: adding 2^(e + 23 - m) to |x|, e = max(exponent of x, smallest exponent), leaves room for m bits behind the
 * leading one, so the float adder rounds at the right place, ties to even; the integers say the rest.
 * Stochastic: |x| as a fixed-point number with 23 - m bits behind the point of the code (the bits of a normal float32
 * are one; a subnormal result is scaled to one) plus the random word; the shift is the rounding.
 */
#include "lanes.h"

typedef struct {
    int m, lowest;  /* mantissa bits; float32 exponent field of the smallest normal value */
    int limit_bits; /* float32 bits of the value after the largest finite one; all that lies beyond may stand there */
    int after;      /* its magnitude */
    int sign_mask, zero_mask; /* zero_mask: bits that a zero result loses (its sign, where -0 has no code) */
    int beyond, below, nan_code, is_unsigned;
} f32_encoder;

/* `shift`: the values to be encoded stand 2^shift times too high. */
static inline f32_encoder f32_encoder_of(const lpnum_format *f, int rounding, int overflow, int shift) {
    f32_encoder c = {f->mantissa_bits, 127 + f->min_exponent + shift, 0, f->finite_max + 1, f->sign_mask,
                     f->negative_zero ? 0 : 0xFF, f->finite_max, f->finite_max | f->sign_mask, f->nan_code, !f->sign_mask};
    const int field = c.after >> c.m;
    const int significand = (c.after & ((1 << c.m) - 1)) + (field ? 1 << c.m : 0);
    const float limit = (float)(significand * power_of_two((field ? field - 1 : 0) + f->min_exponent - c.m + shift));
    memcpy(&c.limit_bits, &limit, 4);
    if (overflows_to_special(overflow, rounding, 0)) c.beyond = special_code(f, 0);
    if (overflows_to_special(overflow, rounding, 1)) c.below = special_code(f, 1);
    return c;
}

/* Do the lanes hold everything exactly? The code after the largest, which marks overflow, has to fit a byte. */
static inline int f32_encodable(const lpnum_format *f) {
    const int top_exponent = (f->finite_max >> f->mantissa_bits) + f->min_exponent; /* at least that of the next value */
    return LPNUM_LANES && f->mantissa_bits > 0 && f->mantissa_bits <= 6 && f->min_exponent >= -100 && top_exponent <= 80 &&
           f->finite_max <= 254;
}

static inline int encode_f32_applies(const lpnum_format *f, const lpnum_policy *p) {
    if (!f32_encodable(f) || p->count || p->dry_run || p->has_nan_code) return 0;
    if (p->overflow != LPNUM_CLAMP && p->overflow != LPNUM_IEEE) return 0;
    return p->rounding == LPNUM_NEAREST_EVEN || (p->rounding == LPNUM_STOCHASTIC && p->random_bits <= 16);
}

#if LPNUM_LANES

static const int F32_INFINITY = 0x7F800000;

/* Magnitudes, not yet less nearest_bias, of |x| given by its bits, none beyond the limit. */
static inline lanes nearest_magnitude(lanes inside, const f32_encoder *c) {
    const lanes exponent = lanes_max(lanes_and(inside, lanes_of(F32_INFINITY)), lanes_of(c->lowest << 23));
    const lanes power = lanes_add(exponent, lanes_of((23 - c->m) << 23));
    const lanes rounded = bits_of(floats_add(floats_of(inside), floats_of(power)));
    return lanes_add(lanes_sub(rounded, power), lanes_shift_right(power, _mm_cvtsi32_si128(23 - c->m)));
}

static inline int nearest_bias(const f32_encoder *c) { return (c->lowest + 23 - c->m) << c->m; }

/* Magnitudes of x = (bits): floor(x + u) in units of the code, u = (word + 1/2) / 2^random_bits. Bits below the last of u
 * do not matter to the comparison, so that a subnormal result may be scaled to an integer rounded down. */
static inline lanes stochastic_magnitude(lanes bits, lanes inside, lanes words, int random_bits, const f32_encoder *c) {
    const lanes sign = lanes_sign(bits), lowest = lanes_of(c->lowest << 23);
    const float_lanes unit = floats_of(lanes_of((127 + 150 - c->lowest) << 23)); /* 2^(23 - smallest exponent) */
    const lanes small = floats_round(floats_floor(floats_mul(floats_of(bits), unit)));
    const lanes normal = lanes_sub(inside, lanes_of((c->lowest - 1) << 23));
    const lanes value = lanes_select(lowest, inside, small, lanes_sub(lanes_xor(normal, sign), sign));
    const lanes top = lanes_and(words, lanes_of(0xFFFF >> (16 - random_bits) << (16 - random_bits)));
    const lanes u = lanes_or(lanes_shift_left(top, _mm_cvtsi32_si128(7 - c->m)), lanes_of(1 << (22 - c->m - random_bits)));
    return lanes_abs(lanes_shift_signed(lanes_add(value, u), _mm_cvtsi32_si128(23 - c->m)));
}

/* Codes of packed magnitudes, signs and overflow put in. */
static inline lanes codes_of_magnitudes(lanes magnitude, lanes signs, const f32_encoder *c) {
    const lanes negative = bytes_negative(signs);
    const lanes zero = lanes_and(bytes_equal(magnitude, lanes_zero()), bytes_of(c->zero_mask));
    const lanes code = lanes_and_not(lanes_or(magnitude, lanes_and(negative, bytes_of(c->sign_mask))), zero);
    const lanes special = bytes_select(negative, bytes_of(c->below), bytes_of(c->beyond));
    return bytes_select(bytes_equal(magnitude, bytes_of(c->after)), special, code);
}

/* N_BYTES values; nan (OUT): whether there is a NaN among them, whose code is not right yet. */
static inline lanes encode_f32_bytes(const float *x, const uint16_t *words, int random_bits, const f32_encoder *c,
                                     int *nan, int *negative) {
    lanes bits[4], magnitude[4], largest = lanes_zero();
    for (int k = 0; k < 4; k++) {
        bits[k] = lanes_load(x + N_LANES * k);
        const lanes plain = lanes_and(bits[k], lanes_of(0x7FFFFFFF));
        const lanes inside = lanes_min(plain, lanes_of(c->limit_bits));
        largest = lanes_max(largest, plain);
        magnitude[k] = words ? stochastic_magnitude(bits[k], inside, lanes_of_u16(words + N_LANES * k), random_bits, c)
                             : nearest_magnitude(inside, c);
    }
    const lanes signs = bytes_pack_signs(bits);
    *nan = lanes_any_greater(largest, lanes_of(F32_INFINITY));
    if (c->is_unsigned) *negative |= lanes_any_greater(lanes_zero(), lanes_or(lanes_or(bits[0], bits[1]), lanes_or(bits[2], bits[3])));
    return bytes_in_order(codes_of_magnitudes(bytes_pack(magnitude, words ? 0 : nearest_bias(c)), signs, c));
}

/* words: one for each element (NULL: nearest-even), readable up to the next multiple of N_BYTES. Returns 0 if there is
 * something for float_code_counted: a NaN without code, a negative value in an unsigned format. */
static int encode_f32_block(const float *restrict x, uint8_t *restrict codes, const uint16_t *restrict words,
                            int random_bits, size_t n, const lpnum_format *f, int rounding, int overflow) {
    const f32_encoder c = f32_encoder_of(f, rounding, overflow, 0);
    float last[N_BYTES] = {0};
    int negative = 0;
    for (size_t i = 0; i < n; i += N_BYTES) {
        const size_t m = n - i < N_BYTES ? n - i : N_BYTES;
        const float *source = x + i;
        if (m < N_BYTES) source = memcpy(last, source, m * sizeof(float));
        int nan;
        const lanes result = words ? encode_f32_bytes(source, words + i, random_bits, &c, &nan, &negative)
                                   : encode_f32_bytes(source, NULL, 0, &c, &nan, &negative);
        if (m == N_BYTES) {
            lanes_store(codes + i, result);
        } else {
            uint8_t bytes[N_BYTES];
            lanes_store(bytes, result);
            memcpy(codes + i, bytes, m);
        }
        if (__builtin_expect(nan, 0)) {
            if (c.nan_code < 0) return 0;
            for (size_t k = 0; k < m; k++)
                if (source[k] != source[k]) codes[i + k] = (uint8_t)c.nan_code;
        }
    }
    return !negative;
}

#else

static int encode_f32_block(const float *restrict x, uint8_t *restrict codes, const uint16_t *restrict words,
                            int random_bits, size_t n, const lpnum_format *f, int rounding, int overflow) {
    (void)x, (void)codes, (void)words, (void)random_bits, (void)n, (void)f, (void)rounding, (void)overflow;
    return 0;
}

#endif
