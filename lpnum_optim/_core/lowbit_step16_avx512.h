/* One update of int16 codes, fused with the product of the next row and the new codes, 16 coordinates at a time.
 *
 * In 32-bit lanes x stands below the dither r, so that one multiply-add with the pair (-beta, 1) gives r - beta x. With
 * |beta| < 2^15, |x| < 2^8, |h| <= 2^23 and |q| <= 2^15 every sum stays below 2^25: nothing saturates but the final clip. */
#ifndef LPNUM_LOWBIT_STEP16_AVX512_H
#define LPNUM_LOWBIT_STEP16_AVX512_H

static inline void lowbit_store_h16(int32_t *restrict h, const int32_t *restrict fine) { memcpy(h, fine, 256); }

typedef struct {
    __m512i whitening, round_key, pair, low, lowest, highest;
} lowbit_lanes16;

static ALWAYS_INLINE __m512i lowbit_widen16(__m128i bytes, int variant) {
    return variant & SIGNED_DATA ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}

/* x, next (IN): 64 data bytes. Returns the sum of products in 32-bit lanes: 4 products of less than 2^23 each more. */
static ALWAYS_INLINE __m512i lowbit_block16(int16_t *z, const int32_t *h, const uint8_t *base, __m512i x, __m512i next,
                                            const lowbit_lanes16 *k, __m512i product, int variant) {
    const __m512i white = _mm512_xor_si512(_mm512_load_si512((const void *)base), k->whitening);
    const __m512i dither = _mm512_aesenc_epi128(white, k->round_key);
    __m256i q[4];
#define QUARTER(n)                                                                                                   \
    do {                                                                                                             \
        const __m512i r = _mm512_slli_epi32(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(dither, n)), 16);         \
        const __m512i data = lowbit_widen16(_mm512_extracti32x4_epi32(x, n), variant);                               \
        const __m512i pairs = _mm512_ternarylogic_epi32(k->low, data, r, 0xCA);                                      \
        const __m512i step = _mm512_sub_epi32(_mm512_madd_epi16(pairs, k->pair), _mm512_load_si512(h + 16 * (n)));   \
        const __m512i old = _mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)(z + 16 * (n))));               \
        __m512i v = _mm512_add_epi32(_mm512_slli_epi32(old, LOWBIT_SHIFT), step);                                    \
        v = _mm512_srai_epi32(v, LOWBIT_SHIFT);                                                                      \
        q[n] = _mm512_cvtepi32_epi16(_mm512_min_epi32(_mm512_max_epi32(v, k->lowest), k->highest));                  \
        _mm256_store_si256((__m256i *)(z + 16 * (n)), q[n]);                                                         \
    } while (0)
    QUARTER(0);
    QUARTER(1);
    QUARTER(2);
    QUARTER(3);
#undef QUARTER
    for (int half = 0; half < 2; half++) {
        const __m256i bytes = half ? _mm512_extracti64x4_epi64(next, 1) : _mm512_castsi512_si256(next);
        const __m512i words = variant & SIGNED_DATA ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
        const __m512i codes = _mm512_inserti64x4(_mm512_castsi256_si512(q[2 * half]), q[2 * half + 1], 1);
        product = _mm512_dpwssd_epi32(product, words, codes);
    }
    return product;
}

static ALWAYS_INLINE double lowbit_step16(const lowbit_state *s, const lowbit_update *u, double shifted,
                                          int variant) {
    enum { SUM16 = 2048 }; /* coordinates whose products are summed in 32 bits */
    const lowbit_lanes16 k = {
        .whitening = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)u->words)),
        .round_key = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(u->words + 16))),
        .pair = _mm512_set1_epi32((lowbit_low_bits(shifted) & 0xFFFF) | 0x10000),
        .low = _mm512_set1_epi32(0xFFFF),
        .lowest = _mm512_set1_epi32(s->code_min),
        .highest = _mm512_set1_epi32(s->code_max),
    };
    int16_t *const z = (int16_t *)u->z;
    const int32_t *const h = (const int32_t *)u->h;
    const size_t d = s->row_bytes, whole = d / 64 * 64;
    double total = 0.0;
    for (size_t j = 0; j < d;) {
        const size_t stop = whole - j < SUM16 ? whole : j + SUM16;
        __m512i product = _mm512_setzero_si512();
        for (; j < stop; j += 64) {
            prefetch(u->ahead + j);
            product = lowbit_block16(z + j, h + j, s->base + j, _mm512_loadu_si512(u->x + j),
                                     _mm512_loadu_si512(u->next + j), &k, product, variant);
        }
        if (j == whole && j < d) { /* the last, incomplete block; the codes beyond d are zero and stay zero */
            const __mmask64 rest = ~0ull >> (64 - (d - j));
            prefetch(u->ahead + j);
            product = lowbit_block16(z + j, h + j, s->base + j, _mm512_maskz_loadu_epi8(rest, u->x + j),
                                     _mm512_maskz_loadu_epi8(rest, u->next + j), &k, product, variant);
            j = d;
        }
        const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(product));
        const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(product, 1));
        total += (double)_mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
    }
    return total;
}

#endif /* LPNUM_LOWBIT_STEP16_AVX512_H */
