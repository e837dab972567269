/* a + b, a - b, a * b, a / b of 8-bit floats at scale 1 in float32 lanes: decode, operate, encode, all in registers.
 *
 * Whether float32 in between leaves the codes as they should be is not argued here: the caller has the table of all
 * 65,536 pairs, and takes this kernel only where it gave the same table. Vectors with a NaN are looked up in it.
 */

/* out (OUT): n codes. Returns 0, with nothing done, for formats that this level does not decode in registers. */
static int float_pairs(int op, const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict table,
                       uint8_t *restrict out, size_t n, const lpnum_format *format_a, const lpnum_format *format_b,
                       const lpnum_format *format_out, int overflow);

#if LPNUM_LANES

#if LPNUM_LEVEL == 2

/* Upper halves of the float32 values (the lower ones are 0), a table for each byte. */
typedef struct {
    byte_table low, high;
} float_decoder;

static int float_decoder_of(const lpnum_format *f, float_decoder *d, int *shift) {
    uint8_t low[256], high[256];
    if (!f->values) return 0;
    for (int c = 0; c < 256; c++) {
        const float value = (float)f->values[c];
        uint32_t bits;
        memcpy(&bits, &value, 4);
        if (bits & 0xFFFF || (value == value && (double)value != f->values[c])) return 0;
        low[c] = (uint8_t)(bits >> 16), high[c] = (uint8_t)(bits >> 24);
    }
    d->low = byte_table_of(low), d->high = byte_table_of(high);
    *shift = 0;
    return 1;
}

/* 64 codes -> float32 in the order that bytes_pack turns around. */
static inline int decode_lanes(const uint8_t *codes, const float_decoder *d, float_lanes v[4]) {
    const lanes x = lanes_load(codes), low = look_up(&d->low, x), high = look_up(&d->high, x), zero = lanes_zero();
    const lanes first = _mm512_unpacklo_epi8(low, high), second = _mm512_unpackhi_epi8(low, high);
    v[0] = floats_of(_mm512_unpacklo_epi16(zero, first)), v[1] = floats_of(_mm512_unpackhi_epi16(zero, first));
    v[2] = floats_of(_mm512_unpacklo_epi16(zero, second)), v[3] = floats_of(_mm512_unpackhi_epi16(zero, second));
    return 0;
}

static inline lanes bytes_stored(lanes packed) { return packed; }

#else

/* The fields of a format of up to 5 exponent bits stand in float16 as they are; its values there are 2^shift as high. */
typedef struct {
    int magnitude_mask, sign_mask, magnitude_shift, sign_shift, largest, nan_code;
} float_decoder;

static int float_decoder_of(const lpnum_format *f, float_decoder *d, int *shift) {
    const int m = f->mantissa_bits;
    if (!f->zero || f->magnitude_mask > 0xFF || m > 7 || f->magnitude_mask >> m > 31) return 0;
    const int largest = f->finite_max < 31 << m ? f->finite_max : (31 << m) - 1; /* field 31 is special in float16 */
    int sign_bit = 0;
    while (f->sign_mask >> sign_bit > 1) sign_bit++;
    *d = (float_decoder){f->magnitude_mask, f->sign_mask, 10 - m, 15 - sign_bit, largest, f->nan_code};
    *shift = -14 - f->min_exponent;
    return 1;
}

/* 32 codes -> float32 in order. Returns 1 if there is a special code among them, whose value is not right. */
static inline int decode_lanes(const uint8_t *codes, const float_decoder *d, float_lanes v[4]) {
    const lanes x = lanes_load(codes), zero = lanes_zero();
    const lanes beyond = bytes_of(d->largest + 1), magnitude = lanes_and(x, bytes_of(d->magnitude_mask));
    lanes special = bytes_equal(_mm256_max_epu8(magnitude, beyond), magnitude);
    if (d->nan_code >= 0) special = lanes_or(special, bytes_equal(x, bytes_of(d->nan_code)));
    const __m128i up = _mm_cvtsi32_si128(d->magnitude_shift), sign_up = _mm_cvtsi32_si128(d->sign_shift);
    const lanes signs = lanes_and(x, bytes_of(d->sign_mask));
    const lanes low = lanes_or(_mm256_sll_epi16(_mm256_unpacklo_epi8(magnitude, zero), up),
                               _mm256_sll_epi16(_mm256_unpacklo_epi8(signs, zero), sign_up));
    const lanes high = lanes_or(_mm256_sll_epi16(_mm256_unpackhi_epi8(magnitude, zero), up),
                                _mm256_sll_epi16(_mm256_unpackhi_epi8(signs, zero), sign_up));
    v[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(low)), v[2] = _mm256_cvtph_ps(_mm256_extracti128_si256(low, 1));
    v[1] = _mm256_cvtph_ps(_mm256_castsi256_si128(high)), v[3] = _mm256_cvtph_ps(_mm256_extracti128_si256(high, 1));
    return _mm256_movemask_epi8(special) != 0;
}

static inline lanes bytes_stored(lanes packed) { return bytes_in_order(packed); }

#endif

static inline float_lanes operate_lanes(int op, float_lanes a, float_lanes b) {
    switch (op) {
    case LPNUM_ADD: return floats_add(a, b);
    case LPNUM_SUBTRACT: return floats_sub(a, b);
    case LPNUM_MULTIPLY: return floats_mul(a, b);
    default: return floats_div(a, b);
    }
}

typedef struct {
    float_decoder a, b;
    f32_encoder out;
} pair_codecs;

/* With a constant `op`, a loop of its own for each operation. */
static inline __attribute__((always_inline)) void float_pairs_loop(int op, const uint8_t *restrict a,
                                                                   const uint8_t *restrict b,
                                                                   const uint8_t *restrict table, uint8_t *restrict out,
                                                                   size_t n, const pair_codecs *codecs) {
    size_t i = 0;
    for (; i + N_BYTES <= n; i += N_BYTES) {
        float_lanes x[4], y[4];
        lanes bits[4], magnitude[4], largest = lanes_zero();
        const int special = decode_lanes(a + i, &codecs->a, x) | decode_lanes(b + i, &codecs->b, y);
        for (int k = 0; k < 4; k++) {
            bits[k] = bits_of(operate_lanes(op, x[k], y[k]));
            const lanes plain = lanes_and(bits[k], lanes_of(0x7FFFFFFF));
            largest = lanes_max(largest, plain);
            magnitude[k] = nearest_magnitude(lanes_min(plain, lanes_of(codecs->out.limit_bits)), &codecs->out);
        }
        if (__builtin_expect(special || lanes_any_greater(largest, lanes_of(F32_INFINITY)), 0)) {
            for (size_t k = i; k < i + N_BYTES; k++) out[k] = table[(size_t)a[k] << 8 | b[k]];
            continue;
        }
        const lanes packed = bytes_pack(magnitude, nearest_bias(&codecs->out));
        lanes_store(out + i, bytes_stored(bytes_of_magnitudes(packed, bytes_pack_signs(bits), &codecs->out)));
    }
    for (; i < n; i++) out[i] = table[(size_t)a[i] << 8 | b[i]];
}

static int float_pairs(int op, const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict table,
                       uint8_t *restrict out, size_t n, const lpnum_format *format_a, const lpnum_format *format_b,
                       const lpnum_format *format_out, int overflow) {
    pair_codecs c;
    int shift_a, shift_b, shift;
    if (!f32_encodable(format_out) || !format_out->sign_mask || format_out->code_max > 255) return 0;
    if (!float_decoder_of(format_a, &c.a, &shift_a) || !float_decoder_of(format_b, &c.b, &shift_b)) return 0;
    if ((op == LPNUM_ADD || op == LPNUM_SUBTRACT) && shift_a != shift_b) return 0;
    shift = op == LPNUM_MULTIPLY ? shift_a + shift_b : op == LPNUM_DIVIDE ? shift_a - shift_b : shift_a;
    c.out = f32_encoder_of(format_out, LPNUM_NEAREST_EVEN, overflow, shift);
    switch (op) {
    case LPNUM_ADD: float_pairs_loop(LPNUM_ADD, a, b, table, out, n, &c); break;
    case LPNUM_SUBTRACT: float_pairs_loop(LPNUM_SUBTRACT, a, b, table, out, n, &c); break;
    case LPNUM_MULTIPLY: float_pairs_loop(LPNUM_MULTIPLY, a, b, table, out, n, &c); break;
    case LPNUM_DIVIDE: float_pairs_loop(LPNUM_DIVIDE, a, b, table, out, n, &c); break;
    default: return 0;
    }
    return 1;
}

#else

static int float_pairs(int op, const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict table,
                       uint8_t *restrict out, size_t n, const lpnum_format *format_a, const lpnum_format *format_b,
                       const lpnum_format *format_out, int overflow) {
    (void)op, (void)a, (void)b, (void)table, (void)out, (void)n, (void)format_a, (void)format_b, (void)format_out;
    (void)overflow;
    return 0;
}

#endif
