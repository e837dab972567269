/* Sums and products of codes with wide accumulators: exact in int64, whatever the length. */

#define SUM_LOOP(type, wide)                                                    \
    for (size_t first = 0; first < n; first += chunk) {                         \
        const size_t m = n - first < chunk ? n - first : chunk;                 \
        const type *restrict p = (const type *)codes + first;                   \
        wide partial = 0;                                                       \
        for (size_t i = 0; i < m; i++) partial += p[i];                         \
        total += (int64_t)partial;                                              \
    }

static int64_t sum_codes(const void *codes, int dtype, size_t n) {
    const size_t chunk = 32768; /* 2^15 * 2^16 fits 32 bits: narrow partial sums vectorize well */
    int64_t total = 0;
    switch (dtype) {
    case LPNUM_I8: SUM_LOOP(int8_t, int32_t) break;
    case LPNUM_U8: SUM_LOOP(uint8_t, int32_t) break;
    case LPNUM_I16: SUM_LOOP(int16_t, int32_t) break;
    default: SUM_LOOP(uint16_t, uint32_t) break;
    }
    return total;
}
#undef SUM_LOOP

/* Widening to 16 bits lets the compiler use the pairwise multiply-add; 2^15 products of 2^16 fit 32 bits unsigned-free:
 * |a * b| <= 2^16 for 8-bit codes, so chunks of 2^14 stay below 2^31. */
#define DOT8(type_a, type_b)                                                    \
    for (size_t first = 0; first < n; first += 16384) {                         \
        const size_t m = n - first < 16384 ? n - first : 16384;                 \
        const type_a *restrict p = (const type_a *)a + first;                   \
        const type_b *restrict q = (const type_b *)b + first;                   \
        int32_t partial = 0;                                                    \
        for (size_t i = 0; i < m; i++) partial += (int16_t)p[i] * (int16_t)q[i]; \
        total += partial;                                                       \
    }

static inline int64_t code_at(const void *codes, int dtype, size_t i) {
    switch (dtype) {
    case LPNUM_I8: return ((const int8_t *)codes)[i];
    case LPNUM_U8: return ((const uint8_t *)codes)[i];
    case LPNUM_I16: return ((const int16_t *)codes)[i];
    default: return ((const uint16_t *)codes)[i];
    }
}

static int64_t dot_codes(const void *a, int a_dtype, const void *b, int b_dtype, size_t n) {
    int64_t total = 0;
    if (a_dtype == LPNUM_I8 && b_dtype == LPNUM_I8) {
        DOT8(int8_t, int8_t)
    } else if (a_dtype == LPNUM_U8 && b_dtype == LPNUM_I8) {
        DOT8(uint8_t, int8_t)
    } else if (a_dtype == LPNUM_I8 && b_dtype == LPNUM_U8) {
        DOT8(int8_t, uint8_t)
    } else if (a_dtype == LPNUM_U8 && b_dtype == LPNUM_U8) {
        DOT8(uint8_t, uint8_t)
    } else if (a_dtype == LPNUM_I16 && b_dtype == LPNUM_I16) {
        const int16_t *restrict p = (const int16_t *)a, *restrict q = (const int16_t *)b;
        for (size_t i = 0; i < n; i++) total += (int32_t)p[i] * (int32_t)q[i];
    } else {
        for (size_t i = 0; i < n; i++) total += code_at(a, a_dtype, i) * code_at(b, b_dtype, i);
    }
    return total;
}
#undef DOT8

/* x - x is 0 for finite x and NaN otherwise, and NaN stays in a sum: 64 sums are tested once a block. */
#define FIRST_NONFINITE(type)                                                   \
    for (size_t first = 0; first < n; first += 4096) {                          \
        const size_t m = n - first < 4096 ? n - first : 4096;                   \
        const type *restrict p = (const type *)values + first;                  \
        type sums[64] = {0}, total = 0;                                         \
        size_t i = 0;                                                           \
        for (; i + 64 <= m; i += 64)                                            \
            for (int k = 0; k < 64; k++) sums[k] += p[i + k] - p[i + k];        \
        for (; i < m; i++) total += p[i] - p[i];                                \
        for (int k = 0; k < 64; k++) total += sums[k];                          \
        if (total != 0)                                                         \
            for (i = 0; i < m; i++)                                             \
                if (!(p[i] - p[i] == 0)) return first + i;                      \
    }

static size_t first_nonfinite(const void *values, int dtype, size_t n) {
    if (dtype == LPNUM_F32) {
        FIRST_NONFINITE(float)
    } else {
        FIRST_NONFINITE(double)
    }
    return n;
}
#undef FIRST_NONFINITE

static void random_words(uint64_t seed, uint64_t stream, uint64_t first, size_t n, int bits, void *words) {
    uint8_t bytes[4096 + 32];
    const size_t word = (size_t)bits / 8, per_block = 16 / word, chunk = 4096 / word;
    for (size_t done = 0; done < n; done += chunk) {
        const size_t m = n - done < chunk ? n - done : chunk;
        const uint64_t index = first + done;
        const size_t skip = (size_t)(index % per_block);
        ars_fill(bytes, (ars_key){seed, stream}, index / per_block, (skip + m + per_block - 1) / per_block);
        memcpy((char *)words + done * word, bytes + skip * word, m * word);
    }
}
