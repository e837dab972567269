/* One update of int16 codes, fused with the product of the next row and the new codes, 16 coordinates at a time.
 *
 * In 32-bit lanes x stands below the dither r, so that one multiply-add with the pair (-beta, 1) gives r - beta x. With
 * |beta| < 2^15, |x| < 2^8, |h| <= 2^23 and |q| <= 2^15 every sum stays below 2^25: nothing saturates but the final clip. */
#ifndef LPNUM_LOWBIT_STEP16_AVX2_H
#define LPNUM_LOWBIT_STEP16_AVX2_H

static inline void lowbit_store_h16(int32_t *restrict h, const int32_t *restrict fine) { memcpy(h, fine, 256); }

typedef struct {
    __m128i whitening, round_key;
    __m256i pair, lowest, highest;
} lowbit_lanes16;

/* The new codes of 8 coordinates in 32 bits; x, dither (IN): the low 8 bytes. */
static ALWAYS_INLINE __m256i lowbit_half16(__m128i z, const int32_t *h, __m128i x, __m128i dither,
                                           const lowbit_lanes16 *k, int variant) {
    const __m256i data = variant & SIGNED_DATA ? _mm256_cvtepi8_epi32(x) : _mm256_cvtepu8_epi32(x);
    const __m256i r = _mm256_slli_epi32(_mm256_cvtepu8_epi32(dither), 16);
    const __m256i move = _mm256_madd_epi16(_mm256_blend_epi16(data, r, 0xAA), k->pair);
    const __m256i step = _mm256_sub_epi32(move, _mm256_load_si256((const __m256i *)h));
    const __m256i old = _mm256_slli_epi32(_mm256_cvtepi16_epi32(z), LOWBIT_SHIFT);
    return _mm256_srai_epi32(_mm256_add_epi32(old, step), LOWBIT_SHIFT);
}

/* x, next (IN): 16 data bytes. Returns the sum of products in 32-bit lanes: 2 products of less than 2^23 each more. */
static ALWAYS_INLINE __m256i lowbit_block16(int16_t *z, const int32_t *h, const uint8_t *base, __m128i x, __m128i next,
                                            const lowbit_lanes16 *k, __m256i product, int variant) {
    const __m128i white = _mm_xor_si128(_mm_load_si128((const __m128i *)base), k->whitening);
    const __m128i dither = _mm_aesenc_si128(white, k->round_key);
    const __m256i lo = lowbit_half16(_mm_load_si128((const __m128i *)z), h, x, dither, k, variant);
    const __m256i hi = lowbit_half16(_mm_load_si128((const __m128i *)(z + 8)), h + 8, _mm_unpackhi_epi64(x, x),
                                     _mm_unpackhi_epi64(dither, dither), k, variant);
    __m256i q = _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0xD8);
    q = _mm256_min_epi16(_mm256_max_epi16(q, k->lowest), k->highest);
    _mm256_store_si256((__m256i *)z, q);
    const __m256i words = variant & SIGNED_DATA ? _mm256_cvtepi8_epi16(next) : _mm256_cvtepu8_epi16(next);
    return _mm256_add_epi32(product, _mm256_madd_epi16(words, q));
}

/* count bytes of the end of a row, the others zero. */
static inline __m128i lowbit_tail16(const uint8_t *x, size_t count) {
    uint8_t bytes[16] = {0};
    memcpy(bytes, x, count);
    return _mm_loadu_si128((const __m128i *)bytes);
}

static ALWAYS_INLINE double lowbit_step16(const lowbit_state *s, const lowbit_update *u, double shifted,
                                          int variant) {
    enum { SUM16 = 1024 }; /* coordinates whose products are summed in 32 bits: 64 times 2^24 in a lane */
    const lowbit_lanes16 k = {
        .whitening = _mm_loadu_si128((const __m128i *)u->words),
        .round_key = _mm_loadu_si128((const __m128i *)(u->words + 16)),
        .pair = _mm256_set1_epi32((lowbit_low_bits(shifted) & 0xFFFF) | 0x10000),
        .lowest = _mm256_set1_epi16((short)s->code_min),
        .highest = _mm256_set1_epi16((short)s->code_max),
    };
    int16_t *const z = (int16_t *)u->z;
    const int32_t *const h = (const int32_t *)u->h;
    const size_t d = s->row_bytes, whole = d / 16 * 16;
    double total = 0.0;
    for (size_t j = 0; j < d;) {
        const size_t stop = whole - j < SUM16 ? whole : j + SUM16;
        __m256i product = _mm256_setzero_si256();
        for (; j < stop; j += 16) {
            if (j % CACHE_LINE == 0) prefetch(u->ahead + j);
            product = lowbit_block16(z + j, h + j, s->base + j, _mm_loadu_si128((const __m128i *)(u->x + j)),
                                     _mm_loadu_si128((const __m128i *)(u->next + j)), &k, product, variant);
        }
        if (j == whole && j < d) { /* the last, incomplete block; the codes beyond d are zero and stay zero */
            product = lowbit_block16(z + j, h + j, s->base + j, lowbit_tail16(u->x + j, d - j),
                                     lowbit_tail16(u->next + j, d - j), &k, product, variant);
            j = d;
        }
        __m256i sum = _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(product)),
                                       _mm256_cvtepi32_epi64(_mm256_extracti128_si256(product, 1)));
        int64_t lanes[4];
        _mm256_storeu_si256((__m256i *)lanes, sum);
        total += (double)((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
    }
    return total;
}

#endif /* LPNUM_LOWBIT_STEP16_AVX2_H */
