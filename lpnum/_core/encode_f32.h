/* float32 -> float codes at scale 1, in 32-bit lanes, with the same codes as the float64 path of float_codec.h.
 *
 * All but nearest-even: |x| as a fixed-point number with 23 - m bits behind the point of the code (the bits of a float32
 * are one, but for a constant; what becomes subnormal is scaled to one). Every mode is floor(x' + u): x' = x, -x or |x|,
 * u = 0, 1/2 or the random word; the shift is the rounding.
 * Nearest-even: adding 2^(e + 23 - m) to |x|, e = max(exponent of x, smallest exponent), leaves room for m bits behind the
 * leading one, so that the float adder rounds at the right place.
 */
#include "lanes.h"

static const int F32_INFINITY = 0x7F800000;

typedef struct {
    int m, lowest;  /* mantissa bits; float32 exponent field of the smallest normal value */
    int limit_bits; /* float32 bits of the value after the largest finite one; all that lies beyond may stand there */
    int after;      /* its magnitude */
    int sign_mask, zero_mask; /* zero_mask: bits that a zero result loses (its sign, where -0 has no code) */
    int beyond, below, nan_code, is_unsigned;
    int even;                   /* nearest-even, else floor(x' + u): */
    int sign_and, sign_xor, add; /* x' = (x & sign_and) ^ sign_xor; u, or what is added to the random word */
    int ordinary;                /* largest bits of |x| that are neither NaN nor an infinity that has a code of its own */
    int infinite[2];             /* that of +infinity and of -infinity */
    int exact_only;              /* u has bits below the last of x', which matter where x' is not exact */
} f32_encoder;

/* `shift`: the values to be encoded stand 2^shift times too high. */
static inline f32_encoder f32_encoder_of(const lpnum_format *f, int rounding, int overflow, int shift) {
    const int m = f->mantissa_bits, away = rounding == LPNUM_NEAREST_AWAY, sign = (int)0x80000000u;
    f32_encoder c = {.m = m, .lowest = 127 + f->min_exponent + shift, .after = f->finite_max + 1};
    c.sign_mask = f->sign_mask, c.zero_mask = f->negative_zero ? 0 : 0xFFFF, c.is_unsigned = !f->sign_mask;
    c.beyond = overflows_to_special(overflow, rounding, 0) ? special_code(f, 0) : f->finite_max;
    c.below = overflows_to_special(overflow, rounding, 1) ? special_code(f, 1) : f->finite_max | f->sign_mask;
    c.nan_code = f->nan_code, c.even = rounding == LPNUM_NEAREST_EVEN;
    c.sign_and = away || rounding == LPNUM_TOWARDS_ZERO ? ~sign : -1;
    c.sign_xor = rounding == LPNUM_TOWARDS_POSITIVE ? sign : 0;
    c.add = away ? 1 << (22 - m) : 0;
    c.infinite[0] = special_code(f, 0), c.infinite[1] = special_code(f, 1); /* under LPNUM_IEEE no rounding makes it finite */
    c.ordinary = F32_INFINITY - (overflow == LPNUM_IEEE && (c.beyond != c.infinite[0] || c.below != c.infinite[1]));
    const int field = c.after >> m, significand = (c.after & ((1 << m) - 1)) + (field ? 1 << m : 0);
    const float limit = (float)(significand * power_of_two((field ? field - 1 : 0) + f->min_exponent - m + shift));
    memcpy(&c.limit_bits, &limit, 4);
    return c;
}

/* Do the lanes hold everything exactly? The code after the largest, which marks overflow, has to fit the storage. */
static inline int f32_encodable(const lpnum_format *f) {
    const int m = f->mantissa_bits, after = f->finite_max + 1, top_exponent = (after >> m) + f->min_exponent;
    if (!LPNUM_LANES || m == 0 || m > (f->code_max < 256 ? 6 : 12) || after > (f->code_max < 256 ? 0xFF : 0xFFFF)) return 0;
    if (after < 1 << m) return 0; /* no normal value: what stands for all beyond would be taken for subnormal */
    if (f->min_exponent == -126) return after <= 255 << m; /* the fields of float32: no scaling, limit at most infinity */
    return f->min_exponent >= -100 && top_exponent <= 80;
}

/* `spare_bits`: below the float32 that is encoded, where it stands for a wider number (see load_f32_block). */
static inline int encode_f32_applies(const lpnum_format *f, const lpnum_policy *p, int spare_bits) {
    if (!f32_encodable(f) || p->count || p->dry_run || p->has_nan_code) return 0;
    if (p->overflow != LPNUM_CLAMP && p->overflow != LPNUM_IEEE) return 0;
    if (p->rounding != LPNUM_STOCHASTIC) return 1;
    return p->random_bits <= 16 && (!spare_bits || p->random_bits <= 22 - f->mantissa_bits - spare_bits);
}

#if LPNUM_LANES

/* Magnitudes, not yet less nearest_bias, of |x| given by its bits, none beyond the limit. */
static inline lanes nearest_magnitude(lanes inside, const f32_encoder *c) {
    const __m128i point = _mm_cvtsi32_si128(23 - c->m);
    if (c->lowest == 1) {
        const lanes odd = lanes_and(lanes_shift_right(inside, point), lanes_of(1));
        return lanes_shift_right(lanes_add(lanes_add(inside, lanes_of((1 << (22 - c->m)) - 1)), odd), point);
    }
    const lanes exponent = lanes_max(lanes_and(inside, lanes_of(F32_INFINITY)), lanes_of(c->lowest << 23));
    const lanes power = lanes_add(exponent, lanes_of((23 - c->m) << 23));
    const lanes rounded = bits_of(floats_add(floats_of(inside), floats_of(power)));
    return lanes_add(lanes_sub(rounded, power), lanes_shift_right(power, point));
}

static inline int nearest_bias(const f32_encoder *c) { return c->lowest == 1 ? 0 : (c->lowest + 23 - c->m) << c->m; }

/* Magnitudes of floor(x' + u), u in units of 2^(m - 23). Bits below the last of u do not matter to the comparison, so that
 * what becomes subnormal may be scaled to an integer rounded down. */
static inline lanes floor_magnitude(lanes bits, lanes inside, lanes u, const f32_encoder *c) {
    const lanes x = lanes_xor(lanes_and(bits, lanes_of(c->sign_and)), lanes_of(c->sign_xor)), sign = lanes_sign(x);
    const lanes normal = lanes_sub(inside, lanes_of((c->lowest - 1) << 23));
    lanes value = lanes_sub(lanes_xor(normal, sign), sign);
    if (c->lowest != 1) {
        const float_lanes unit = floats_of(lanes_of((127 + 150 - c->lowest) << 23)); /* 2^(23 - smallest exponent) */
        const lanes small = floats_round(floats_floor(floats_mul(floats_of(x), unit)));
        value = lanes_select(lanes_of(c->lowest << 23), inside, small, value);
    }
    return lanes_abs(lanes_shift_signed(lanes_add(value, u), _mm_cvtsi32_si128(23 - c->m)));
}

/* (word + 1/2) / 2^random_bits, from the upper bits of 16-bit words, in units of 2^(m - 23), rounded down. */
static inline lanes words_to_add(const uint16_t *words, int random_bits, const f32_encoder *c) {
    const lanes top = lanes_and(lanes_of_u16(words), lanes_of(0xFFFF >> (16 - random_bits) << (16 - random_bits)));
    const lanes u = lanes_shift_right(lanes_shift_left(top, _mm_cvtsi32_si128(7)), _mm_cvtsi32_si128(c->m));
    return lanes_or(u, lanes_of(c->add));
}

/* Codes of packed magnitudes, signs and overflow put in: of bytes, and of 16-bit words. */
#define CODES_OF_MAGNITUDES(NAME, ELEMENTS)                                                                            \
    static inline lanes NAME(lanes magnitude, lanes signs, const f32_encoder *c) {                                     \
        const lanes negative = ELEMENTS##_negative(signs);                                                             \
        const lanes zero = lanes_and(ELEMENTS##_equal(magnitude, lanes_zero()), ELEMENTS##_of(c->zero_mask));          \
        const lanes signed_code = lanes_or(magnitude, lanes_and(negative, ELEMENTS##_of(c->sign_mask)));               \
        const lanes special = bytes_select(negative, ELEMENTS##_of(c->below), ELEMENTS##_of(c->beyond));               \
        const lanes over = ELEMENTS##_equal(magnitude, ELEMENTS##_of(c->after));                                       \
        return bytes_select(over, special, lanes_and_not(signed_code, zero));                                          \
    }
CODES_OF_MAGNITUDES(bytes_of_magnitudes, bytes)
CODES_OF_MAGNITUDES(words_of_magnitudes, words)
#undef CODES_OF_MAGNITUDES

/* N_BYTES values to bytes, or to 16-bit words if `wide`. Returns 1 if there are values whose codes are not right
 * yet, see encode_extraordinary; sets `odd` for what the lanes cannot do. */
static inline int encode_f32_lanes(const float *x, const uint16_t *words, int random_bits, const f32_encoder *c, int wide,
                                   uint8_t *codes, int *odd) {
    lanes bits[4], magnitude[4], largest = lanes_zero(), scaled = lanes_zero();
    for (int k = 0; k < 4; k++) {
        bits[k] = lanes_load(x + N_LANES * k);
        const lanes plain = lanes_and(bits[k], lanes_of(0x7FFFFFFF));
        const lanes inside = lanes_min(plain, lanes_of(c->limit_bits));
        largest = lanes_max(largest, plain);
        if (words && c->exact_only && c->lowest != 1)
            scaled = lanes_or(scaled, lanes_select(lanes_of(c->lowest << 23), inside, inside, lanes_zero()));
        if (c->even)
            magnitude[k] = nearest_magnitude(inside, c);
        else
            magnitude[k] = floor_magnitude(
                bits[k], inside, words ? words_to_add(words + N_LANES * k, random_bits, c) : lanes_of(c->add), c);
    }
    const int bias = c->even ? nearest_bias(c) : 0;
    if (wide) {
        for (int k = 0; k < 4; k += 2) {
            const lanes low = lanes_sub(magnitude[k], lanes_of(bias)), high = lanes_sub(magnitude[k + 1], lanes_of(bias));
            const lanes result = words_of_magnitudes(words_pack(low, high), words_pack_signs(bits[k], bits[k + 1]), c);
            lanes_store(codes + 2 * N_LANES * k, words_in_order(result));
        }
    } else {
        lanes_store(codes, bytes_in_order(bytes_of_magnitudes(bytes_pack(magnitude, bias), bytes_pack_signs(bits), c)));
    }
    if (c->is_unsigned)
        *odd |= lanes_any_greater(lanes_zero(), lanes_or(lanes_or(bits[0], bits[1]), lanes_or(bits[2], bits[3])));
    if (words && c->exact_only) *odd |= lanes_any_greater(scaled, lanes_zero());
    return lanes_any_greater(largest, lanes_of(c->ordinary));
}

/* Put the codes of NaN and infinity in; returns 0 for a NaN without code. */
static int encode_extraordinary(const float *x, uint8_t *codes, size_t n, int wide, const f32_encoder *c) {
    for (size_t k = 0; k < n; k++) {
        int code;
        if (x[k] != x[k])
            code = c->nan_code;
        else if (isinf(x[k]) && c->ordinary < F32_INFINITY)
            code = c->infinite[x[k] < 0];
        else
            continue;
        if (code < 0) return 0;
        codes[k << wide] = (uint8_t)code;
        if (wide) codes[2 * k + 1] = (uint8_t)(code >> 8);
    }
    return 1;
}

/* With constants for words, even and wide, a loop of its own for each case. */
static inline __attribute__((always_inline)) int encode_f32_loop(const float *restrict x, uint8_t *restrict codes,
                                                                 const uint16_t *restrict words, int random_bits, size_t n,
                                                                 const f32_encoder *encoder, int even, int wide) {
    const size_t width = wide ? 2 : 1;
    f32_encoder c = *encoder;
    float last[N_BYTES] = {0};
    int odd = 0;
    c.even = even;
    for (size_t i = 0; i < n; i += N_BYTES) {
        const size_t m = n - i < N_BYTES ? n - i : N_BYTES;
        const float *source = x + i;
        uint8_t *target = codes + width * i, bytes[2 * N_BYTES];
        if (m < N_BYTES) source = memcpy(last, source, m * sizeof(float)), target = bytes;
        const int extraordinary =
            encode_f32_lanes(source, words ? words + i : NULL, random_bits, &c, wide, target, &odd);
        if (__builtin_expect(extraordinary, 0) && !encode_extraordinary(source, target, m, wide, &c)) return 0;
        if (m < N_BYTES) memcpy(codes + width * i, bytes, width * m);
    }
    return !odd;
}

/* words: one for each element (NULL: not stochastic), readable up to the next multiple of N_BYTES; codes: in the format's
 * storage. Returns 0 if there is something for the float64 path: a NaN without code, a negative unsigned value, a scaled one
 * with exact_only. */
static int encode_f32_block(const float *restrict x, void *restrict codes, const uint16_t *restrict words, int random_bits,
                            size_t n, const lpnum_format *f, int rounding, int overflow) {
    f32_encoder c = f32_encoder_of(f, rounding, overflow, 0);
    const int wide = f->code_max > 255, half_bit = 22 - c.m - random_bits;
    if (words) c.exact_only = half_bit < 0, c.add = c.exact_only ? 0 : 1 << half_bit;
    if (c.even) return wide ? encode_f32_loop(x, codes, NULL, 0, n, &c, 1, 1) : encode_f32_loop(x, codes, NULL, 0, n, &c, 1, 0);
    if (!words) return wide ? encode_f32_loop(x, codes, NULL, 0, n, &c, 0, 1) : encode_f32_loop(x, codes, NULL, 0, n, &c, 0, 0);
    return wide ? encode_f32_loop(x, codes, words, random_bits, n, &c, 0, 1)
                : encode_f32_loop(x, codes, words, random_bits, n, &c, 0, 0);
}

#else

static int encode_f32_block(const float *restrict x, void *restrict codes, const uint16_t *restrict words, int random_bits,
                            size_t n, const lpnum_format *f, int rounding, int overflow) {
    (void)x, (void)codes, (void)words, (void)random_bits, (void)n, (void)f, (void)rounding, (void)overflow;
    return 0;
}

#endif
