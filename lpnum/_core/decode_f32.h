/* Float codes -> values, exact; in float32 for every format that float32 holds. Plain C, which compilers vectorize. */

static inline int f32_holds(const lpnum_format *f) {
    const int top_exponent = (f->finite_max >> f->mantissa_bits) + f->min_exponent; /* at least that of the largest value */
    return f->zero && f->min_exponent >= -126 && top_exponent <= 128;
}

/* v (OUT): values of n codes at scale 1. */
static void float_values_f32(const uint16_t *restrict codes, float *restrict v, size_t n, const lpnum_format *f) {
    const uint32_t m = (uint32_t)f->mantissa_bits, base = (uint32_t)(126 + f->min_exponent) << 23;
    const uint32_t magnitude_mask = (uint32_t)f->magnitude_mask, sign_mask = (uint32_t)f->sign_mask;
    const uint32_t largest = (uint32_t)f->finite_max, infinity = (uint32_t)f->inf_code, nan = (uint32_t)f->nan_code;
    const uint32_t subnormals = base ? 1u << m : 0; /* those of the smallest exponent of float32 are its own */
    const float unit = (float)power_of_two(f->min_exponent - f->mantissa_bits);
    for (size_t i = 0; i < n; i++) {
        const uint32_t code = codes[i], magnitude = code & magnitude_mask, negative = (code & sign_mask) != 0;
        const float scaled = (float)(int32_t)magnitude * unit;
        uint32_t subnormal;
        memcpy(&subnormal, &scaled, 4);
        uint32_t bits = magnitude < subnormals ? subnormal : (magnitude << (23 - m)) + base;
        bits = magnitude == infinity ? 0x7F800000u : bits;
        bits |= negative << 31;
        const uint32_t special = (uint32_t)(magnitude > largest) & (uint32_t)(magnitude != infinity);
        bits = special | (uint32_t)(code == nan) ? 0x7FC00000u : bits; /* a NaN has no sign */
        memcpy(&v[i], &bits, 4);
    }
}

/* v (OUT): values of at most BLOCK codes. */
static void float_values_block(const uint16_t *restrict codes, double *restrict v, const lpnum_format *f, size_t n) {
    if (f32_holds(f)) {
        float w[BLOCK];
        float_values_f32(codes, w, n, f);
        for (size_t i = 0; i < n; i++) v[i] = (double)w[i];
    } else if (f->values) {
        for (size_t i = 0; i < n; i++) v[i] = f->values[codes[i]];
    } else {
        for (size_t i = 0; i < n; i++) v[i] = float_value(f, codes[i]);
    }
}
