/* One update of int8 codes, fused with the product of the next row and the new codes, 64 coordinates at a time.
 *
 * In 16-bit lanes, in the order of unpacking (of 16 coordinates the first 8 in one register, the others in another): q
 * above the dither r is 256 q + r; signed data above zero are 256 x, the high half of whose product with -256 beta is
 * -beta x. After the shift codes lie within -128..127; only narrower ranges have to be clipped (variant CLIPS). */
#ifndef LPNUM_LOWBIT_STEP8_AVX512_H
#define LPNUM_LOWBIT_STEP8_AVX512_H

/* Coordinates whose products are summed in 32 bits: 2^16 * 255 * 128 < 2^31. */
enum { LOWBIT_SUM8 = 1 << 16 };

static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) {
    for (int lane = 0; lane < 4; lane++) {
        memcpy(h + 8 * lane, fine + 16 * lane, 16);
        memcpy(h + 8 * lane + 32, fine + 16 * lane + 8, 16);
    }
}

typedef struct {
    __m512i factor; /* -beta, for signed data -256 beta */
    __m512i whitening, round_key, order, flip, lowest, highest;
} lowbit_lanes8;

typedef struct {
    __m512i product, bias;
} lowbit_sums8;

/* The new codes: low, high (IN) are what the steps add, in the order of unpacking, but for h. */
static ALWAYS_INLINE __m512i lowbit_move8(int8_t *z, const int16_t *h, const uint8_t *base, __m512i low, __m512i high,
                                          __m512i whitening, __m512i round_key, __m512i order,
                                          int fits) {
    const __m512i white = _mm512_xor_si512(_mm512_load_si512((const void *)base), whitening);
    const __m512i r = _mm512_aesenc_epi128(white, round_key), old = _mm512_load_si512((const void *)z);
    const __m512i h0 = _mm512_load_si512((const void *)h), h1 = _mm512_load_si512((const void *)(h + 32));
    low = fits ? _mm512_sub_epi16(low, h0) : _mm512_subs_epi16(low, h0);
    high = fits ? _mm512_sub_epi16(high, h1) : _mm512_subs_epi16(high, h1);
    low = _mm512_adds_epi16(low, _mm512_unpacklo_epi8(r, old));
    high = _mm512_adds_epi16(high, _mm512_unpackhi_epi8(r, old));
    return _mm512_permutex2var_epi8(low, order, high);
}

/* Which bytes of two registers, in the order of unpacking, are the high bytes of the coordinates. */
static const uint8_t lowbit_order8[64] __attribute__((aligned(64))) = {
#define EIGHT(n) n + 1, n + 3, n + 5, n + 7, n + 9, n + 11, n + 13, n + 15
    EIGHT(0), EIGHT(64), EIGHT(16), EIGHT(80), EIGHT(32), EIGHT(96), EIGHT(48), EIGHT(112)};
#undef EIGHT

/* x (IN): 64 data bytes. */
static ALWAYS_INLINE void lowbit_block8(int8_t *z, const int16_t *h, const uint8_t *base, __m512i x, __m512i next,
                                        const lowbit_lanes8 *k, lowbit_sums8 *sums, int variant) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i low, high; /* -beta * x */
    if (variant & SIGNED_DATA) {
        low = _mm512_mulhi_epi16(_mm512_unpacklo_epi8(zero, x), k->factor);
        high = _mm512_mulhi_epi16(_mm512_unpackhi_epi8(zero, x), k->factor);
    } else {
        low = _mm512_mullo_epi16(_mm512_unpacklo_epi8(x, zero), k->factor);
        high = _mm512_mullo_epi16(_mm512_unpackhi_epi8(x, zero), k->factor);
    }
    __m512i q = lowbit_move8(z, h, base, low, high, k->whitening, k->round_key, k->order, 0);
    if (variant & CLIPS) q = _mm512_min_epi8(_mm512_max_epi8(q, k->lowest), k->highest);
    _mm512_store_si512((void *)z, q);
    if (variant & SIGNED_DATA) { /* unsigned times signed: with 128 + q, and 128 * next, which is there before q */
        sums->product = _mm512_dpbusd_epi32(sums->product, _mm512_xor_si512(q, k->flip), next);
        sums->bias = _mm512_dpbusd_epi32(sums->bias, k->flip, next);
    } else {
        sums->product = _mm512_dpbusd_epi32(sums->product, next, q);
    }
}

/* The 64 coordinates of 64 bytes, or the 128 of 64 packed bytes: low halves, high halves. */
static ALWAYS_INLINE void lowbit_bytes8(int8_t *z, const int16_t *h, const uint8_t *base, __m512i x, __m512i next,
                                        const lowbit_lanes8 *k, lowbit_sums8 *sums, int variant) {
    if (variant & PACKED) {
        const __m512i high = _mm512_set1_epi8((char)0xF0);
        lowbit_block8(z, h, base, _mm512_and_si512(_mm512_slli_epi16(x, 4), high),
                      _mm512_and_si512(_mm512_slli_epi16(next, 4), high), k, sums, variant);
        lowbit_block8(z + 64, h + 64, base + 64, _mm512_and_si512(x, high), _mm512_and_si512(next, high), k, sums + 1,
                      variant);
    } else {
        lowbit_block8(z, h, base, x, next, k, sums, variant);
    }
}

static ALWAYS_INLINE double lowbit_lane_sum8(__m512i v) {
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i sum = _mm256_castsi256_si128(_mm256_add_epi32(half, _mm256_shuffle_i32x4(half, half, 1)));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return _mm_cvtsd_f64(_mm_cvtepi32_pd(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1))));
}

static ALWAYS_INLINE double lowbit_step8(const lowbit_state *s, const lowbit_update *u, double shifted,
                                          int variant) {
    const size_t span = variant & PACKED ? 128 : 64; /* coordinates of 64 bytes */
    const __m512i factor = _mm512_broadcastw_epi16(_mm_castpd_si128(_mm_set_sd(shifted)));
    const lowbit_lanes8 k = {
        .factor = variant & SIGNED_DATA ? _mm512_slli_epi16(factor, 8) : factor,
        .whitening = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)u->words)),
        .round_key = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(u->words + 16))),
        .order = _mm512_load_si512((const void *)lowbit_order8),
        .flip = _mm512_set1_epi8((char)0x80),
        .lowest = _mm512_set1_epi8((char)s->code_min),
        .highest = _mm512_set1_epi8((char)s->code_max),
    };
    const uint8_t *x = u->x, *next = u->next, *ahead = u->ahead, *base = s->base;
    int8_t *z = (int8_t *)u->z;
    const int16_t *h = (const int16_t *)u->h;
    size_t left = s->row_bytes;
    double total = 0.0;
    while (left) {
        lowbit_sums8 sums[2] = {{_mm512_setzero_si512(), _mm512_setzero_si512()},
                                {_mm512_setzero_si512(), _mm512_setzero_si512()}};
        const size_t bytes = left < LOWBIT_SUM8 / span * 64 ? left : LOWBIT_SUM8 / span * 64;
        left -= bytes;
        const size_t whole = (left ? bytes : bytes - s->half) / 64, rest = bytes - 64 * whole;
#define WHOLE(n)                                                                                               \
    do {                                                                                                       \
        prefetch(ahead + 64 * (n));                                                                            \
        lowbit_bytes8(z + span * (n), h + span * (n), base + span * (n), _mm512_loadu_si512(x + 64 * (n)),     \
                      _mm512_loadu_si512(next + 64 * (n)), &k, variant & PACKED ? sums : sums + (n), variant); \
    } while (0)
#define PASS(n) \
    (z += span * (n), h += span * (n), base += span * (n), x += 64 * (n), next += 64 * (n), ahead += 64 * (n))
        size_t b = 0;
        for (; b + 2 <= whole; b += 2) { /* a sum alone would wait for itself */
            WHOLE(0);
            WHOLE(1);
            PASS(2);
        }
        if (b < whole) {
            WHOLE(0);
            PASS(1);
        }
#undef WHOLE
#undef PASS
        if (rest) { /* the end of the row; the codes beyond are zero and stay zero */
            const __mmask64 mask = ~0ull >> (64 - rest);
            const __m512i keep = _mm512_loadu_si512(s->keep);
            prefetch(ahead);
            lowbit_bytes8(z, h, base, _mm512_and_si512(_mm512_maskz_loadu_epi8(mask, x), keep),
                          _mm512_and_si512(_mm512_maskz_loadu_epi8(mask, next), keep), &k, sums, variant);
        }
        const __m512i product = _mm512_add_epi32(sums[0].product, sums[1].product);
        const double part = lowbit_lane_sum8(_mm512_sub_epi32(product, _mm512_add_epi32(sums[0].bias, sums[1].bias)));
        if (bytes == s->row_bytes) return part; /* the next step waits for it: not even an addition to zero */
        total += part;
    }
    return total;
}

#endif /* LPNUM_LOWBIT_STEP8_AVX512_H */
