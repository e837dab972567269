/* One update of int8 codes by two steps at once, fused with the products the next two steps need, 32 coordinates at a
 * time, in the lanes of lowbit_step8_avx2.h. As in lowbit_pair8_avx512.h one byte multiply-add gives -beta0 x0 - beta1 x1
 * of factors that are together at most 128. Products are taken in 16-bit lanes; of signed data, one factor of which is
 * above zero, they are 256 times as large. */
#ifndef LPNUM_LOWBIT_PAIR8_AVX2_H
#define LPNUM_LOWBIT_PAIR8_AVX2_H

enum { LOWBIT_DRIFT_FLIP = 0 };

typedef struct {
    __m256i pair, bias;                             /* (-beta0, -beta1); 128 times their sum */
    __m256i first, first_bias, second, second_bias; /* (-beta0, 0), (0, -beta1) and 128 times each */
    __m256i flip, lowest, highest;
    __m128i whitening, round_key;
} lowbit_pair_lanes8;

typedef struct {
    __m256i first, second, gram, drift;
} lowbit_pair_sums8;

static ALWAYS_INLINE __m256i lowbit_pair_move8(__m256i x, const lowbit_pair_lanes8 *k, int variant) {
    if (variant & LARGE) {
        __m256i first = _mm256_maddubs_epi16(x, k->first), second = _mm256_maddubs_epi16(x, k->second);
        if (variant & SIGNED_DATA) {
            first = _mm256_sub_epi16(first, k->first_bias);
            second = _mm256_sub_epi16(second, k->second_bias);
        }
        return _mm256_adds_epi16(first, second);
    }
    const __m256i both = _mm256_maddubs_epi16(x, k->pair);
    return variant & SIGNED_DATA ? _mm256_sub_epi16(both, k->bias) : both;
}

/* 16 new codes. x (IN): pairs of data bytes; zr (IN): 256 q + r. */
static ALWAYS_INLINE __m256i lowbit_pair_half8(__m256i x, const int16_t *h, __m256i zr, const lowbit_pair_lanes8 *k,
                                               int variant) {
    const __m256i move = lowbit_pair_move8(x, k, variant), fixed = _mm256_load_si256((const __m256i *)h);
    const int fits = (variant & SIGNED_DATA) && !(variant & LARGE); /* |move| < 2^15 - 2^14, |h| < 2^14 */
    const __m256i step = fits ? _mm256_sub_epi16(move, fixed) : _mm256_subs_epi16(move, fixed);
    const __m256i q = _mm256_srai_epi16(_mm256_adds_epi16(zr, step), LOWBIT_SHIFT);
    return variant & CLIPS ? _mm256_min_epi16(_mm256_max_epi16(q, k->lowest), k->highest) : q;
}

/* Adds the products of 16 coordinates. y0, y1 (IN): of signed data 256 times as large; drift as a high byte. */
static ALWAYS_INLINE void lowbit_pair_products8(__m256i q, __m256i y0, __m256i y1, __m256i drift, lowbit_pair_sums8 *sums,
                                                int variant) {
    const __m256i small = variant & SIGNED_DATA ? _mm256_srai_epi16(y1, 8) : y1;
    if (!(variant & SIGNED_DATA)) drift = _mm256_srai_epi16(drift, 8);
#define ADD(sum, product)                                \
    do {                                                 \
        sum = _mm256_add_epi32(sum, product);            \
        __asm__("" : "+x"(sum)); /* in this order: else gcc keeps all products and runs out of registers */ \
    } while (0)
    ADD(sums->gram, _mm256_madd_epi16(y0, small));
    ADD(sums->drift, _mm256_madd_epi16(small, drift));
    ADD(sums->first, _mm256_madd_epi16(y0, q));
    ADD(sums->second, _mm256_madd_epi16(y1, q));
#undef ADD
}

/* x0, x1, y0, y1 (IN): 32 data bytes each, of these two rows and the next two. */
static ALWAYS_INLINE void lowbit_pair_block8(int8_t *z, const int16_t *h, const uint8_t *drift, const uint8_t *base,
                                             __m256i x0, __m256i x1, __m256i y0, __m256i y1,
                                             const lowbit_pair_lanes8 *k, lowbit_pair_sums8 *sums, int variant) {
    if (variant & SIGNED_DATA) x0 = _mm256_xor_si256(x0, k->flip), x1 = _mm256_xor_si256(x1, k->flip);
    const __m256i r = _mm256_set_m128i(lowbit_dither16(base + 16, k->whitening, k->round_key),
                                       lowbit_dither16(base, k->whitening, k->round_key));
    const __m256i old = _mm256_load_si256((const __m256i *)z), zero = _mm256_setzero_si256();
    const __m256i low = lowbit_pair_half8(_mm256_unpacklo_epi8(x0, x1), h, _mm256_unpacklo_epi8(r, old), k, variant);
    const __m256i high = lowbit_pair_half8(_mm256_unpackhi_epi8(x0, x1), h + 16, _mm256_unpackhi_epi8(r, old), k, variant);
    _mm256_store_si256((__m256i *)z, _mm256_packs_epi16(low, high));
    const __m256i slope = _mm256_load_si256((const __m256i *)drift);
    lowbit_pair_products8(low, lowbit_widen_low8(y0, variant), lowbit_widen_low8(y1, variant),
                          _mm256_unpacklo_epi8(zero, slope), sums, variant);
    lowbit_pair_products8(high, lowbit_widen_high8(y0, variant), lowbit_widen_high8(y1, variant),
                          _mm256_unpackhi_epi8(zero, slope), sums, variant);
}

/* The 32 coordinates of 32 bytes, or the 64 of 32 packed bytes: low halves here, high halves 64 positions further. */
static ALWAYS_INLINE void lowbit_pair_bytes8(int8_t *z, const int16_t *h, const uint8_t *drift, const uint8_t *base,
                                             __m256i x0, __m256i x1, __m256i y0, __m256i y1,
                                             const lowbit_pair_lanes8 *k, lowbit_pair_sums8 *sums, int variant) {
    if (!(variant & PACKED)) {
        lowbit_pair_block8(z, h, drift, base, x0, x1, y0, y1, k, sums, variant);
        return;
    }
    const __m256i high = _mm256_set1_epi8((char)0xF0);
#define LOW(v) _mm256_and_si256(_mm256_slli_epi16(v, 4), high)
#define HIGH(v) _mm256_and_si256(v, high)
    lowbit_pair_block8(z, h, drift, base, LOW(x0), LOW(x1), LOW(y0), LOW(y1), k, sums, variant);
    lowbit_pair_block8(z + 64, h + 64, drift + 64, base + 64, HIGH(x0), HIGH(x1), HIGH(y0), HIGH(y1), k, sums, variant);
#undef LOW
#undef HIGH
}

/* The sums of the lanes of four registers. */
static ALWAYS_INLINE __m256d lowbit_lane_sums8(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    const __m256i lanes = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm256_cvtepi32_pd(_mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1)));
}

static ALWAYS_INLINE lowbit_pair_products lowbit_pair8(const lowbit_state *s, const lowbit_pair *u, double shifted0,
                                                       double shifted1, int variant) {
    const size_t span = variant & PACKED ? 128 : 64, chunk = LOWBIT_CHUNK / span * 64; /* coordinates, bytes */
    const __m256i even = _mm256_set1_epi16(0x00FF);
    const __m256i factor0 = _mm256_broadcastb_epi8(_mm_castpd_si128(_mm_set_sd(shifted0)));
    const __m256i factor1 = _mm256_broadcastb_epi8(_mm_castpd_si128(_mm_set_sd(shifted1)));
    lowbit_pair_lanes8 k = {
        .first = _mm256_and_si256(even, factor0), .second = _mm256_andnot_si256(even, factor1),
        .flip = _mm256_set1_epi8((char)0x80),
        .lowest = _mm256_set1_epi16((short)s->code_min), .highest = _mm256_set1_epi16((short)s->code_max),
        .whitening = _mm_loadu_si128((const __m128i *)u->words),
        .round_key = _mm_loadu_si128((const __m128i *)(u->words + 16)),
    };
    k.pair = _mm256_or_si256(k.first, k.second);
    k.bias = _mm256_maddubs_epi16(k.flip, k.pair);
    k.first_bias = _mm256_maddubs_epi16(k.flip, k.first), k.second_bias = _mm256_maddubs_epi16(k.flip, k.second);
    const uint8_t *x0 = u->x[0], *x1 = u->x[1], *y0 = u->next[0], *y1 = u->next[1], *drift = s->drift, *base = s->base;
    const uint8_t *ahead0 = u->ahead[0], *ahead1 = u->ahead[1];
    int8_t *z = (int8_t *)s->z;
    const int16_t *h = (const int16_t *)s->h;
    __m256d total = _mm256_setzero_pd();
    for (size_t left = s->row_bytes;;) {
        const size_t bytes = left < chunk ? left : chunk;
        const size_t whole = (left > chunk ? bytes : bytes - s->half) / 64, rest = bytes - 64 * whole;
        const __m256i zero = _mm256_setzero_si256();
        lowbit_pair_sums8 sums = {zero, zero, zero, zero}; /* products times 256 in eight lanes: 2^10 / 8 * 2^22 < 2^31 */
        for (size_t b = 0; b < whole; b++) {
            prefetch(ahead0);
            prefetch(ahead1);
            for (int half = 0; half < 64; half += 32)
                lowbit_pair_bytes8(z + half, h + half, drift + half, base + half,
                                   _mm256_loadu_si256((const __m256i *)(x0 + half)),
                                   _mm256_loadu_si256((const __m256i *)(x1 + half)),
                                   _mm256_loadu_si256((const __m256i *)(y0 + half)),
                                   _mm256_loadu_si256((const __m256i *)(y1 + half)), &k, &sums, variant);
            z += span, h += span, drift += span, base += span;
            x0 += 64, x1 += 64, y0 += 64, y1 += 64, ahead0 += 64, ahead1 += 64;
        }
        if (rest) prefetch(ahead0), prefetch(ahead1); /* the end of the row; the codes beyond are zero and stay zero */
        for (size_t half = 0; half < rest; half += 32) {
            const size_t count = rest - half < 32 ? rest - half : 32;
#define TAIL(row) lowbit_tail8(row + half, count, s->end, s->keep + half)
            lowbit_pair_bytes8(z + half, h + half, drift + half, base + half, TAIL(x0), TAIL(x1), TAIL(y0), TAIL(y1), &k,
                               &sums, variant);
#undef TAIL
        }
#define SUM(sum) (variant & SIGNED_DATA ? _mm256_srai_epi32(sum, 8) : sum)
        total = _mm256_add_pd(total, lowbit_lane_sums8(SUM(sums.first), SUM(sums.second), SUM(sums.gram), SUM(sums.drift)));
#undef SUM
        left -= bytes;
        if (!left) break;
    }
    const __m128d low = _mm256_castpd256_pd128(total), high = _mm256_extractf128_pd(total, 1);
    return (lowbit_pair_products){_mm_cvtsd_f64(low), _mm_cvtsd_f64(_mm_unpackhi_pd(low, low)), _mm_cvtsd_f64(high),
                                  _mm_cvtsd_f64(_mm_unpackhi_pd(high, high))};
}

#endif /* LPNUM_LOWBIT_PAIR8_AVX2_H */
