/* Values rounded onto the grid of a float format, in place or not, and their codes: encode and decode in one pass, while a
 * block is in the first-level cache. What lies beyond the range is counted on the way, before it is overwritten. */

enum { ROUND_BLOCK = 2048 };

static inline uint32_t bits_of_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* Is there room for all values of the format in float32, and does encode_f32_block know it? */
static int round_floats_applies(const lpnum_format *f, const lpnum_policy *p) {
    return f->is_float && f->sign_mask && f32_holds(f) && encode_f32_applies(f, p, 0);
}

/* bfloat16 <-> float32, to nearest, ties to even; there is no NaN, which would need its payload kept from vanishing, but
 * where the format has one: that is quiet, so that its top bits stay. */
static void widen_bfloat16(const uint16_t *restrict x, float *restrict v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(&v[i], &bits, 4);
    }
}

static void narrow_bfloat16(const float *restrict v, uint16_t *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of_float(v[i]);
        x[i] = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}

/* How many magnitudes, as bits, are at least `limit`; NaN is beyond all. */
static int64_t count_beyond(const float *restrict x, size_t n, uint32_t limit) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) count += (bits_of_float(x[i]) & 0x7FFFFFFFu) >= limit;
    return (int64_t)count;
}

/* One at a time: for blocks with a NaN, which has no code, and where the lanes do not decide. */
static void round_codes_singly(const float *restrict x, uint8_t *restrict codes, const uint16_t *words, size_t n,
                               const lpnum_format *f, const lpnum_policy *p) {
    lpnum_policy with_nan = *p;
    lpnum_events events = {0};
    with_nan.has_nan_code = 1;
    for (size_t i = 0; i < n; i++) {
        const double threshold = words ? stochastic_threshold(words[i], 16, p->random_bits) : 0.0;
        const uint16_t code = (uint16_t)float_code_counted((double)x[i], threshold, p->rounding, f, i, &with_nan, &events);
        if (f->code_max > 255)
            memcpy(codes + 2 * i, &code, 2);
        else
            codes[i] = (uint8_t)code;
    }
}

/* Values of m <= ROUND_BLOCK codes, as float32 in `v`. */
static void float_values_of(const uint8_t *codes, float *restrict v, size_t m, const lpnum_format *f, const f32_table *table) {
    if (f->code_max > 255) {
        uint16_t block[ROUND_BLOCK];
        memcpy(block, codes, 2 * m);
        float_values_f32(block, v, m, f);
    } else {
        map8_f32_by(codes, table, v, m);
    }
}

static f32_table table_of_format(const lpnum_format *f, float values[256]) {
    for (int c = 0; c < 256; c++) values[c] = f->values ? (float)f->values[c] : 0.0f;
    return f32_table_of(values);
}

/* source: n of float32, or of bfloat16. values (OUT): the rounded ones, in the same type; may be the source, or NULL.
 * codes (OUT): in the format's storage, or NULL. A NaN that the format does not have becomes p->nan_code. beyond (OUT): how
 * many magnitudes are at least `threshold` or NaN, and how many of these are NaN. */
static void round_floats(const void *source, void *values, void *codes, int is_bfloat16, size_t n, const lpnum_format *f,
                         float threshold, const lpnum_policy *p, int64_t beyond[2]) {
    const int wide = f->code_max > 255;
    const uint32_t limit = bits_of_float(threshold);
    float buffer[ROUND_BLOCK], table[256];
    uint8_t own_codes[2 * ROUND_BLOCK];
    uint16_t words[ROUND_BLOCK + 16 + 64];
    const f32_table lookup = table_of_format(f, table);
    beyond[0] = beyond[1] = 0;
    for (size_t first = 0; first < n; first += ROUND_BLOCK) {
        const size_t m = n - first < ROUND_BLOCK ? n - first : ROUND_BLOCK;
        const float *x = is_bfloat16 ? buffer : (const float *)source + first;
        uint8_t *q = codes ? (uint8_t *)codes + (first << wide) : own_codes;
        const uint16_t *w = NULL;
        if (is_bfloat16) widen_bfloat16((const uint16_t *)source + first, buffer, m);
        if (p->rounding == LPNUM_STOCHASTIC) {
            const uint64_t index = p->first_index + first;
            const size_t skip = (size_t)(index % 8);
            ars_fill((uint8_t *)words, (ars_key){p->seed, p->stream}, index / 8, (skip + m + 7) / 8);
            w = words + skip;
        }
        const int64_t over = count_beyond(x, m, limit);
        if (__builtin_expect(over != 0, 0)) beyond[0] += over, beyond[1] += count_beyond(x, m, 0x7F800001u);
        if (!encode_f32_block(x, q, w, p->random_bits, m, f, p->rounding, p->overflow))
            round_codes_singly(x, q, w, m, f, p);
        if (!values) continue;
        float_values_of(q, is_bfloat16 ? buffer : (float *)values + first, m, f, &lookup);
        if (is_bfloat16) narrow_bfloat16(buffer, (uint16_t *)values + first, m);
    }
}

static int decode_floats_applies(const lpnum_format *f) { return f->is_float && f32_holds(f); }

/* values (OUT): those of n codes, in float32 or bfloat16. */
static void decode_floats(const void *codes, void *values, int is_bfloat16, size_t n, const lpnum_format *f) {
    const int wide = f->code_max > 255;
    float buffer[ROUND_BLOCK], table[256];
    const f32_table lookup = table_of_format(f, table);
    for (size_t first = 0; first < n; first += ROUND_BLOCK) {
        const size_t m = n - first < ROUND_BLOCK ? n - first : ROUND_BLOCK;
        const uint8_t *q = (const uint8_t *)codes + (first << wide);
        float_values_of(q, is_bfloat16 ? buffer : (float *)values + first, m, f, &lookup);
        if (is_bfloat16) narrow_bfloat16(buffer, (uint16_t *)values + first, m);
    }
}

/* The largest magnitude; NaN, whose bits are beyond those of infinity, if there is one. */
static float largest_magnitude(const void *values, int is_bfloat16, size_t n) {
    uint32_t largest = 0;
    if (is_bfloat16) {
        const uint16_t *restrict x = (const uint16_t *)values;
        uint16_t most = 0;
        for (size_t i = 0; i < n; i++) {
            const uint16_t magnitude = x[i] & 0x7FFF;
            most = magnitude > most ? magnitude : most;
        }
        largest = (uint32_t)most << 16;
    } else {
        const float *restrict x = (const float *)values;
        for (size_t i = 0; i < n; i++) {
            const uint32_t magnitude = bits_of_float(x[i]) & 0x7FFFFFFFu;
            largest = magnitude > largest ? magnitude : largest;
        }
    }
    float result;
    memcpy(&result, &largest, 4);
    return result;
}
