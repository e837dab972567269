/* One update of int8 codes by two steps at once, fused with the products the next two steps need, 64 coordinates at a
 * time, in the lanes of lowbit_step8_avx512.h.
 *
 * The bytes x0, x1 of a coordinate stand beside each other, so that one byte multiply-add gives -beta0 x0 - beta1 x1. It
 * takes unsigned data: signed ones as 128 + x, and 128 times the factors is taken off again. It saturates unless the
 * factors are together at most 128 (255 * 128 < 2^15); larger ones are rare and take two multiply-adds (variant LARGE). */
#ifndef LPNUM_LOWBIT_PAIR8_AVX512_H
#define LPNUM_LOWBIT_PAIR8_AVX512_H

enum { LOWBIT_DRIFT_FLIP = 0x80 }; /* of signed data */

/* Coordinates whose products are summed in 32 bits: 2^15 * 255 * 255 < 2^31. */
enum { LOWBIT_PAIR_SUM8 = 1 << 15 };

typedef struct {
    __m512i pair, bias;                        /* (-beta0, -beta1); 128 times their sum */
    __m512i first, first_bias, second, second_bias; /* (-beta0, 0), (0, -beta1) and 128 times each */
    __m512i whitening, round_key, order, flip, lowest, highest;
} lowbit_pair_lanes8;

typedef struct {
    __m512i first, second, gram, drift, bias0, bias1;
} lowbit_pair_sums8;

static ALWAYS_INLINE __m512i lowbit_pair_move8(__m512i x, const lowbit_pair_lanes8 *k, int variant) {
    if (variant & LARGE) {
        __m512i first = _mm512_maddubs_epi16(x, k->first), second = _mm512_maddubs_epi16(x, k->second);
        if (variant & SIGNED_DATA) {
            first = _mm512_sub_epi16(first, k->first_bias);
            second = _mm512_sub_epi16(second, k->second_bias);
        }
        return _mm512_adds_epi16(first, second);
    }
    const __m512i both = _mm512_maddubs_epi16(x, k->pair);
    return variant & SIGNED_DATA ? _mm512_sub_epi16(both, k->bias) : both;
}

/* x0, x1, y0, y1 (IN): 64 data bytes each, of these two rows and the next two. */
static ALWAYS_INLINE void lowbit_pair_block8(int8_t *z, const int16_t *h, const uint8_t *drift, const uint8_t *base,
                                             __m512i x0, __m512i x1, __m512i y0, __m512i y1,
                                             const lowbit_pair_lanes8 *k, lowbit_pair_sums8 *sums, int variant) {
    if (variant & SIGNED_DATA) x0 = _mm512_xor_si512(x0, k->flip), x1 = _mm512_xor_si512(x1, k->flip);
    const __m512i low = lowbit_pair_move8(_mm512_unpacklo_epi8(x0, x1), k, variant);
    const __m512i high = lowbit_pair_move8(_mm512_unpackhi_epi8(x0, x1), k, variant);
    __m512i q = lowbit_move8(z, h, base, low, high, k->whitening, k->round_key, k->order,
                              (variant & SIGNED_DATA) && !(variant & LARGE));
    if (variant & CLIPS) q = _mm512_min_epi8(_mm512_max_epi8(q, k->lowest), k->highest);
    _mm512_store_si512((void *)z, q);
    const __m512i slope = _mm512_load_si512((const void *)drift);
    if (variant & SIGNED_DATA) { /* unsigned times signed: with 128 + q, 128 + y1, 128 + drift */
        const __m512i code = _mm512_xor_si512(q, k->flip);
        sums->bias0 = _mm512_dpbusd_epi32(sums->bias0, k->flip, y0);
        sums->bias1 = _mm512_dpbusd_epi32(sums->bias1, k->flip, y1);
        sums->gram = _mm512_dpbusd_epi32(sums->gram, _mm512_xor_si512(y1, k->flip), y0);
        sums->drift = _mm512_dpbusd_epi32(sums->drift, slope, y1);
        sums->first = _mm512_dpbusd_epi32(sums->first, code, y0);
        sums->second = _mm512_dpbusd_epi32(sums->second, code, y1);
    } else { /* gram with y0 - 128 */
        sums->bias1 = _mm512_dpbusd_epi32(sums->bias1, y1, k->flip);
        sums->gram = _mm512_dpbusd_epi32(sums->gram, y1, _mm512_xor_si512(y0, k->flip));
        sums->drift = _mm512_dpbusd_epi32(sums->drift, y1, slope);
        sums->first = _mm512_dpbusd_epi32(sums->first, y0, q);
        sums->second = _mm512_dpbusd_epi32(sums->second, y1, q);
    }
}

typedef struct {
    int8_t *z;
    const int16_t *h;
    const uint8_t *drift, *base, *x[2], *next[2], *ahead[2];
} lowbit_pair_cursor;

static ALWAYS_INLINE void lowbit_pair_pass(lowbit_pair_cursor *c, size_t span, size_t n) {
    c->z += n * span, c->h += n * span, c->drift += n * span, c->base += n * span;
    for (int r = 0; r < 2; r++) c->x[r] += n * 64, c->next[r] += n * 64, c->ahead[r] += n * 64;
}

/* The 64 coordinates of 64 bytes, or the 128 of 64 packed bytes: low halves, high halves. */
static ALWAYS_INLINE void lowbit_pair_bytes8(const lowbit_pair_cursor *c, size_t at, __m512i x0, __m512i x1, __m512i y0,
                                             __m512i y1, const lowbit_pair_lanes8 *k, lowbit_pair_sums8 *sums,
                                             int variant) {
    if (variant & PACKED) {
        const __m512i high = _mm512_set1_epi8((char)0xF0);
#define LOW(v) _mm512_and_si512(_mm512_slli_epi16(v, 4), high)
#define HIGH(v) _mm512_and_si512(v, high)
        lowbit_pair_block8(c->z + at, c->h + at, c->drift + at, c->base + at, LOW(x0), LOW(x1), LOW(y0), LOW(y1), k,
                           sums, variant);
        at += 64;
        lowbit_pair_block8(c->z + at, c->h + at, c->drift + at, c->base + at, HIGH(x0), HIGH(x1), HIGH(y0), HIGH(y1), k,
                           sums, variant);
#undef LOW
#undef HIGH
    } else {
        lowbit_pair_block8(c->z + at, c->h + at, c->drift + at, c->base + at, x0, x1, y0, y1, k, sums, variant);
    }
}

/* The sums of the lanes of four registers. */
static ALWAYS_INLINE __m128i lowbit_lane_sums8(__m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

static ALWAYS_INLINE lowbit_pair_products lowbit_pair8(const lowbit_state *s, const lowbit_pair *u, double shifted0,
                                                  double shifted1, int variant) {
    const size_t span = variant & PACKED ? 128 : 64; /* coordinates of 64 bytes */
    const __mmask64 odd = 0xAAAAAAAAAAAAAAAA;
    const __m128i factor0 = _mm_castpd_si128(_mm_set_sd(shifted0)), factor1 = _mm_castpd_si128(_mm_set_sd(shifted1));
    lowbit_pair_lanes8 k = {
        .pair = _mm512_mask_broadcastb_epi8(_mm512_broadcastb_epi8(factor0), odd, factor1),
        .whitening = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)u->words)),
        .round_key = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(u->words + 16))),
        .order = _mm512_load_si512((const void *)lowbit_order8),
        .flip = _mm512_set1_epi8((char)0x80),
        .lowest = _mm512_set1_epi8((char)s->code_min),
        .highest = _mm512_set1_epi8((char)s->code_max),
    };
    if (variant & LARGE) {
        k.first = _mm512_maskz_mov_epi8(~odd, k.pair), k.second = _mm512_maskz_mov_epi8(odd, k.pair);
        k.first_bias = _mm512_maddubs_epi16(k.flip, k.first), k.second_bias = _mm512_maddubs_epi16(k.flip, k.second);
    } else {
        k.bias = _mm512_maddubs_epi16(k.flip, k.pair);
    }
    lowbit_pair_cursor c = {(int8_t *)s->z, (const int16_t *)s->h, s->drift, s->base,
                            {u->x[0], u->x[1]}, {u->next[0], u->next[1]}, {u->ahead[0], u->ahead[1]}};
    __m256d total = _mm256_setzero_pd();
    size_t left = s->row_bytes;
    for (;;) {
        const __m512i zero = _mm512_setzero_si512();
        lowbit_pair_sums8 sums = {zero, zero, zero, zero, zero, zero};
        const size_t bytes = left < LOWBIT_PAIR_SUM8 / span * 64 ? left : LOWBIT_PAIR_SUM8 / span * 64;
        left -= bytes;
        const size_t whole = (left ? bytes : bytes - s->half) / 64, rest = bytes - 64 * whole;
#define WHOLE(n)                                                                                                       \
    do {                                                                                                               \
        prefetch(c.ahead[0] + 64 * (n));                                                                               \
        prefetch(c.ahead[1] + 64 * (n));                                                                               \
        lowbit_pair_bytes8(&c, span * (n), _mm512_loadu_si512(c.x[0] + 64 * (n)), _mm512_loadu_si512(c.x[1] + 64 * (n)), \
                           _mm512_loadu_si512(c.next[0] + 64 * (n)), _mm512_loadu_si512(c.next[1] + 64 * (n)), &k,     \
                           &sums, variant);                                                                            \
    } while (0)
        size_t b = 0;
        for (; b + 2 <= whole; b += 2) {
            WHOLE(0);
            WHOLE(1);
            lowbit_pair_pass(&c, span, 2);
        }
        if (b < whole) {
            WHOLE(0);
            lowbit_pair_pass(&c, span, 1);
        }
#undef WHOLE
        if (rest) { /* the end of the row; the codes beyond are zero and stay zero */
            const __mmask64 mask = ~0ull >> (64 - rest);
            const __m512i keep = _mm512_loadu_si512(s->keep);
#define REST(row) _mm512_and_si512(_mm512_maskz_loadu_epi8(mask, row), keep)
            for (int r = 0; r < 2; r++) prefetch(c.ahead[r]);
            lowbit_pair_bytes8(&c, 0, REST(c.x[0]), REST(c.x[1]), REST(c.next[0]), REST(c.next[1]), &k, &sums, variant);
#undef REST
        }
        const int is_signed = variant & SIGNED_DATA;
        const __m128i part = lowbit_lane_sums8(
            is_signed ? _mm512_sub_epi32(sums.first, sums.bias0) : sums.first,
            is_signed ? _mm512_sub_epi32(sums.second, sums.bias1) : sums.second,
            _mm512_sub_epi32(sums.gram, is_signed ? sums.bias0 : sums.bias1),
            is_signed ? _mm512_sub_epi32(sums.drift, sums.bias1) : sums.drift);
        const __m256d values = _mm256_cvtepi32_pd(part);
        total = bytes == s->row_bytes ? values : _mm256_add_pd(total, values);
        if (!left) break;
    }
    const __m128d low = _mm256_castpd256_pd128(total), high = _mm256_extractf128_pd(total, 1);
    return (lowbit_pair_products){_mm_cvtsd_f64(low), _mm_cvtsd_f64(_mm_unpackhi_pd(low, low)), _mm_cvtsd_f64(high),
                             _mm_cvtsd_f64(_mm_unpackhi_pd(high, high))};
}

#endif /* LPNUM_LOWBIT_PAIR8_AVX512_H */
