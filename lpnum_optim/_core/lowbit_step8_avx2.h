/* One update of int8 codes, fused with the product of the next row and the new codes, 32 coordinates at a time.
 *
 * In 16-bit lanes, in the order of unpacking (coordinates 0-7, 16-23 of 32; the others): q above the dither r is
 * 256 q + r; signed data above zero are 256 x, the high half of whose product with -256 beta is -beta x. The product of
 * the next row takes these lanes too, because byte multiply-adds would saturate; signed data stay 256 times as large.
 *
 * What does not need beta, 256 q + r, is prepared before: the processor does it while the scalar part is under way. */
#ifndef LPNUM_LOWBIT_STEP8_AVX2_H
#define LPNUM_LOWBIT_STEP8_AVX2_H

static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) {
    for (int group = 0; group < 8; group++)
        memcpy(h + 8 * ((group & 4) + (group & 1) * 2 + (group >> 1 & 1)), fine + 8 * group, 16);
}

typedef struct {
    __m256i factor, lowest, highest; /* -beta, for signed data -256 beta */
} lowbit_lanes8;

static ALWAYS_INLINE __m128i lowbit_dither16(const uint8_t *base, __m128i whitening, __m128i round_key) {
    return _mm_aesenc_si128(_mm_xor_si128(_mm_load_si128((const __m128i *)base), whitening), round_key);
}

/* ready (OUT): 256 q + r of `count` coordinates. */
static ALWAYS_INLINE void lowbit_prepare8(int16_t *restrict ready, const int8_t *restrict z,
                                          const uint8_t *restrict base, const uint8_t *restrict words, size_t count) {
    const __m128i whitening = _mm_loadu_si128((const __m128i *)words);
    const __m128i round_key = _mm_loadu_si128((const __m128i *)(words + 16));
    for (size_t j = 0; j < count; j += 32) {
        const __m256i r = _mm256_set_m128i(lowbit_dither16(base + j + 16, whitening, round_key),
                                           lowbit_dither16(base + j, whitening, round_key));
        const __m256i q = _mm256_load_si256((const __m256i *)(z + j));
        _mm256_store_si256((__m256i *)(ready + j), _mm256_unpacklo_epi8(r, q));
        _mm256_store_si256((__m256i *)(ready + j + 16), _mm256_unpackhi_epi8(r, q));
    }
}

/* x (IN): 16 data codes, signed ones 256 times as large. */
static ALWAYS_INLINE __m256i lowbit_half8(__m256i x, const int16_t *h, const int16_t *ready, const lowbit_lanes8 *k,
                                          int variant) {
    const __m256i move = variant & SIGNED_DATA ? _mm256_mulhi_epi16(x, k->factor) : _mm256_mullo_epi16(x, k->factor);
    const __m256i step = _mm256_subs_epi16(move, _mm256_load_si256((const __m256i *)h));
    const __m256i sum = _mm256_adds_epi16(_mm256_load_si256((const __m256i *)ready), step);
    const __m256i q = _mm256_srai_epi16(sum, LOWBIT_SHIFT);
    return variant & CLIPS ? _mm256_min_epi16(_mm256_max_epi16(q, k->lowest), k->highest) : q;
}

static ALWAYS_INLINE __m256i lowbit_widen_low8(__m256i x, int variant) {
    const __m256i zero = _mm256_setzero_si256();
    return variant & SIGNED_DATA ? _mm256_unpacklo_epi8(zero, x) : _mm256_unpacklo_epi8(x, zero);
}

static ALWAYS_INLINE __m256i lowbit_widen_high8(__m256i x, int variant) {
    const __m256i zero = _mm256_setzero_si256();
    return variant & SIGNED_DATA ? _mm256_unpackhi_epi8(zero, x) : _mm256_unpackhi_epi8(x, zero);
}

/* x, next (IN): 32 data bytes. Returns the sum of products, those of signed data 256 times as large. */
static ALWAYS_INLINE __m256i lowbit_block8(int8_t *z, const int16_t *h, const int16_t *ready, __m256i x, __m256i next,
                                           const lowbit_lanes8 *k, __m256i product, int variant) {
    const __m256i lo = lowbit_half8(lowbit_widen_low8(x, variant), h, ready, k, variant);
    const __m256i hi = lowbit_half8(lowbit_widen_high8(x, variant), h + 16, ready + 16, k, variant);
    _mm256_store_si256((__m256i *)z, _mm256_packs_epi16(lo, hi));
    product = _mm256_add_epi32(product, _mm256_madd_epi16(lowbit_widen_low8(next, variant), lo));
    return _mm256_add_epi32(product, _mm256_madd_epi16(lowbit_widen_high8(next, variant), hi));
}

/* The 32 coordinates of 32 bytes, or the 64 of 32 packed bytes: low halves here, high halves 64 positions further. */
static ALWAYS_INLINE __m256i lowbit_bytes8(int8_t *z, const int16_t *h, const int16_t *ready, __m256i x, __m256i next,
                                           const lowbit_lanes8 *k, __m256i product, int variant) {
    if (!(variant & PACKED)) return lowbit_block8(z, h, ready, x, next, k, product, variant);
    const __m256i high = _mm256_set1_epi8((char)0xF0);
    product = lowbit_block8(z, h, ready, _mm256_and_si256(_mm256_slli_epi16(x, 4), high),
                            _mm256_and_si256(_mm256_slli_epi16(next, 4), high), k, product, variant);
    return lowbit_block8(z + 64, h + 64, ready + 64, _mm256_and_si256(x, high), _mm256_and_si256(next, high), k,
                         product, variant);
}

/* count <= 32 bytes of the end of a row; never reads beyond the end of the matrix. */
static inline __m256i lowbit_tail8(const uint8_t *x, size_t count, const uint8_t *end, const uint8_t *keep) {
    const __m256i mask = _mm256_loadu_si256((const __m256i *)keep);
    if ((size_t)(end - x) >= 32) /* copying byte by byte would stall the load */
        return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)x), mask);
    uint8_t bytes[32] = {0};
    memcpy(bytes, x, count);
    return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)bytes), mask);
}

static ALWAYS_INLINE double lowbit_lane_sum8(__m256i v) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return _mm_cvtsd_f64(_mm_cvtepi32_pd(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1))));
}

static ALWAYS_INLINE double lowbit_step8(const lowbit_state *s, const lowbit_update *u, double shifted,
                                          int variant) {
    const size_t span = variant & PACKED ? 128 : 64, chunk = LOWBIT_CHUNK / span * 64; /* coordinates, bytes */
    const __m256i factor = _mm256_broadcastw_epi16(_mm_castpd_si128(_mm_set_sd(shifted)));
    const lowbit_lanes8 k = {
        .factor = variant & SIGNED_DATA ? _mm256_slli_epi16(factor, 8) : factor,
        .lowest = _mm256_set1_epi16((short)s->code_min),
        .highest = _mm256_set1_epi16((short)s->code_max),
    };
    const uint8_t *x = u->x, *next = u->next, *ahead = u->ahead, *base = s->base;
    int8_t *z = (int8_t *)u->z;
    const int16_t *h = (const int16_t *)u->h;
    double total = 0.0;
    for (size_t left = s->row_bytes; left;) {
        const size_t bytes = left < chunk ? left : chunk;
        const size_t whole = (left > chunk ? bytes : bytes - s->half) / 64;
        const int16_t *ready = s->ready;
        __m256i sum = _mm256_setzero_si256(); /* products times 256 in eight lanes: 2^10 / 8 * 2^22 < 2^31 */
        lowbit_prepare8(s->ready, z, base, u->words, (bytes + 63) / 64 * span);
        for (size_t b = 0; b < whole; b++) {
            prefetch(ahead);
            for (int half = 0; half < 64; half += 32)
                sum = lowbit_bytes8(z + half, h + half, ready + half, _mm256_loadu_si256((const __m256i *)(x + half)),
                                    _mm256_loadu_si256((const __m256i *)(next + half)), &k, sum, variant);
            z += span, h += span, ready += span, base += span, x += 64, next += 64, ahead += 64;
        }
        const size_t rest = bytes - 64 * whole; /* of the end of the row; the codes beyond are zero and stay zero */
        if (rest) prefetch(ahead);
        for (size_t half = 0; half < rest; half += 32) {
            const size_t count = rest - half < 32 ? rest - half : 32;
            sum = lowbit_bytes8(z + half, h + half, ready + half, lowbit_tail8(x + half, count, s->end, s->keep + half),
                                lowbit_tail8(next + half, count, s->end, s->keep + half), &k, sum, variant);
        }
        const double part = lowbit_lane_sum8(variant & SIGNED_DATA ? _mm256_srai_epi32(sum, 8) : sum);
        if (bytes == s->row_bytes) return part; /* the next step waits for it: not even an addition to zero */
        total += part;
        left -= bytes;
    }
    return total;
}

#endif /* LPNUM_LOWBIT_STEP8_AVX2_H */
