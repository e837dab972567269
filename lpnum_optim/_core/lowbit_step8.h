/* One update of int8 codes, fused with the product of the next row and the new codes: they are still in registers.
 *
 * The update wants data as unsigned bytes u = code + bias (int8 data with the sign bit flipped, bias 128). Interleaved
 * with the dither r, one byte multiply-add with the constant pair (-beta, 1) gives r - beta*u in 16-bit lanes, exact
 * because |beta| <= 127; adding beta*bias gives r - beta*code, again within 16 bits. Interleaving zero with z gives
 * z << 8. After the shift codes lie within -128..127; only narrower ranges have to be clipped (variant CLIPS).
 */
#ifndef LPNUM_LOWBIT_STEP8_H
#define LPNUM_LOWBIT_STEP8_H

static int64_t lowbit_dot8(const lowbit_state *s, const uint8_t *restrict x, int variant) {
    const int8_t *restrict z = (const int8_t *)s->z;
    int64_t sum = 0;
    for (size_t j = 0; j < s->d; j++) sum += lowbit_data(x[j], variant) * z[j];
    return sum;
}

#if LPNUM_X86 && LPNUM_LEVEL == 2

/* Coordinates whose products are summed in 32 bits: 2^16 * 255 * 128 < 2^31. */
enum { LOWBIT_CHUNK8 = 1 << 16 };

/* Unpacking takes coordinates 0-7, 16-23, 32-39, 48-55 into the low result, the others into the high one. */
static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) {
    for (int group = 0; group < 8; group++) memcpy(h + 8 * ((group & 1) * 4 + group / 2), fine + 8 * group, 16);
}

typedef struct {
    __m512i whitening, round_key, pair, beta_bias, flip, lowest, highest;
} lowbit_lanes8;

static ALWAYS_INLINE __m512i lowbit_half8(__m512i data_dither, __m512i z256, const int16_t *h,
                                          const lowbit_lanes8 *k, int variant) {
    __m512i exact = _mm512_maddubs_epi16(data_dither, k->pair);
    if (variant & SIGNED_DATA) exact = _mm512_add_epi16(exact, k->beta_bias);
    const __m512i step = _mm512_subs_epi16(exact, _mm512_load_si512((const void *)h));
    return _mm512_srai_epi16(_mm512_adds_epi16(z256, step), LOWBIT_SHIFT);
}

/* x, next (IN): 64 data bytes, zero beyond the row's end. product (IN/OUT): sum of next . z. */
static ALWAYS_INLINE void lowbit_block8(int8_t *z, const int16_t *h, const uint8_t *base, __m512i x, __m512i next,
                                        const lowbit_lanes8 *k, __m512i *product, __m512i *bias, int variant) {
    const __m512i u = variant & SIGNED_DATA ? _mm512_xor_si512(x, k->flip) : x;
    const __m512i old = _mm512_load_si512((const void *)z), zero = _mm512_setzero_si512();
    const __m512i white = _mm512_xor_si512(_mm512_load_si512((const void *)base), k->whitening);
    const __m512i dither = _mm512_aesenc_epi128(white, k->round_key);
    const __m512i lo = lowbit_half8(_mm512_unpacklo_epi8(u, dither), _mm512_unpacklo_epi8(zero, old), h, k, variant);
    const __m512i hi =
        lowbit_half8(_mm512_unpackhi_epi8(u, dither), _mm512_unpackhi_epi8(zero, old), h + 32, k, variant);
    __m512i q = _mm512_packs_epi16(lo, hi);
    if (variant & CLIPS) q = _mm512_min_epi8(_mm512_max_epi8(q, k->lowest), k->highest);
    _mm512_store_si512((void *)z, q);
    if (variant & SIGNED_DATA) { /* unsigned times signed: the biased product, and 128 * q to take off again */
        *product = _mm512_dpbusd_epi32(*product, _mm512_xor_si512(next, k->flip), q);
        *bias = _mm512_dpbusd_epi32(*bias, k->flip, q);
    } else {
        *product = _mm512_dpbusd_epi32(*product, next, q);
    }
}

static ALWAYS_INLINE int64_t lowbit_step8(const lowbit_state *s, const uint8_t *restrict x,
                                          const uint8_t *restrict next, const uint8_t *restrict words, int beta,
                                          int variant) {
    const lowbit_lanes8 k = {
        .whitening = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)words)),
        .round_key = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(words + 16))),
        .pair = _mm512_set1_epi16((short)((-beta & 0xFF) | 0x100)),
        .beta_bias = _mm512_set1_epi16((short)(beta * 128)),
        .flip = _mm512_set1_epi8((char)0x80),
        .lowest = _mm512_set1_epi8((char)s->code_min),
        .highest = _mm512_set1_epi8((char)s->code_max),
    };
    int8_t *const z = (int8_t *)s->z;
    const int16_t *const h = (const int16_t *)s->h;
    const uint8_t *const base = s->base;
    const size_t d = s->d, whole = d / 64 * 64;
    int64_t sum = 0;
    size_t j = 0;
    do {
        const size_t stop = whole - j < LOWBIT_CHUNK8 ? whole : j + LOWBIT_CHUNK8;
        __m512i product = _mm512_setzero_si512(), bias = _mm512_setzero_si512();
        for (; j < stop; j += 64)
            lowbit_block8(z + j, h + j, base + j, _mm512_loadu_si512(x + j), _mm512_loadu_si512(next + j), &k, &product,
                          &bias, variant);
        if (j == whole && j < d) { /* the last, incomplete block; the codes beyond d are zero and stay zero */
            const __mmask64 rest = ~0ull >> (64 - (d - j));
            lowbit_block8(z + j, h + j, base + j, _mm512_maskz_loadu_epi8(rest, x + j),
                          _mm512_maskz_loadu_epi8(rest, next + j), &k, &product, &bias, variant);
            j = d;
        }
        sum += _mm512_reduce_add_epi32(_mm512_sub_epi32(product, bias));
    } while (j < d);
    return sum;
}

#elif LPNUM_X86 && LPNUM_LEVEL == 1

/* Coordinates whose products, times 256, are summed in eight 32-bit lanes: 2^11 / 8 * 2^22 = 2^30. */
enum { LOWBIT_CHUNK8 = 1 << 11 };

/* Unpacking takes coordinates 0-7, 16-23 of 32 into the low result, the others into the high one. */
static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) {
    for (int group = 0; group < 8; group++)
        memcpy(h + 8 * ((group & 4) + (group & 1) * 2 + (group >> 1 & 1)), fine + 8 * group, 16);
}

typedef struct {
    __m128i whitening, round_key;
    __m256i pair, beta_bias, flip, lowest, highest;
} lowbit_lanes8;

static ALWAYS_INLINE __m256i lowbit_half8(__m256i data_dither, __m256i z256, const int16_t *h,
                                          const lowbit_lanes8 *k, int variant) {
    __m256i exact = _mm256_maddubs_epi16(data_dither, k->pair);
    if (variant & SIGNED_DATA) exact = _mm256_add_epi16(exact, k->beta_bias);
    const __m256i step = _mm256_subs_epi16(exact, _mm256_load_si256((const __m256i *)h));
    const __m256i q = _mm256_srai_epi16(_mm256_adds_epi16(z256, step), LOWBIT_SHIFT);
    return variant & CLIPS ? _mm256_min_epi16(_mm256_max_epi16(q, k->lowest), k->highest) : q;
}

static ALWAYS_INLINE __m128i lowbit_dither16(const uint8_t *base, const lowbit_lanes8 *k) {
    return _mm_aesenc_si128(_mm_xor_si128(_mm_load_si128((const __m128i *)base), k->whitening), k->round_key);
}

/* Byte multiply-adds saturate at 16 bits, so the product is taken from 16-bit lanes, which are there before packing.
 * int8 data enter as 256 * code (interleaved below zero): no sign extension; lowbit_lane_sum divides again. */
static ALWAYS_INLINE __m256i lowbit_block8(int8_t *z, const int16_t *h, const uint8_t *base, __m256i x, __m256i next,
                                           const lowbit_lanes8 *k, __m256i product, int variant) {
    const __m256i u = variant & SIGNED_DATA ? _mm256_xor_si256(x, k->flip) : x;
    const __m256i old = _mm256_load_si256((const __m256i *)z), zero = _mm256_setzero_si256();
    const __m256i dither = _mm256_set_m128i(lowbit_dither16(base + 16, k), lowbit_dither16(base, k));
    const __m256i lo = lowbit_half8(_mm256_unpacklo_epi8(u, dither), _mm256_unpacklo_epi8(zero, old), h, k, variant);
    const __m256i hi =
        lowbit_half8(_mm256_unpackhi_epi8(u, dither), _mm256_unpackhi_epi8(zero, old), h + 16, k, variant);
    _mm256_store_si256((__m256i *)z, _mm256_packs_epi16(lo, hi));
    const int is_signed = variant & SIGNED_DATA;
    const __m256i next_lo = is_signed ? _mm256_unpacklo_epi8(zero, next) : _mm256_unpacklo_epi8(next, zero);
    const __m256i next_hi = is_signed ? _mm256_unpackhi_epi8(zero, next) : _mm256_unpackhi_epi8(next, zero);
    product = _mm256_add_epi32(product, _mm256_madd_epi16(next_lo, lo));
    return _mm256_add_epi32(product, _mm256_madd_epi16(next_hi, hi));
}

/* The last, incomplete block of a row, filled up with zeros; never reads beyond the end of the matrix. */
static inline __m256i lowbit_tail8(const uint8_t *x, size_t count, const uint8_t *end) {
    static const uint8_t keep[64] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                     255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    if ((size_t)(end - x) >= 32) /* copying byte by byte would stall the load */
        return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)x),
                                _mm256_loadu_si256((const __m256i *)(keep + 32 - count)));
    uint8_t bytes[32] = {0};
    memcpy(bytes, x, count);
    return _mm256_loadu_si256((const __m256i *)bytes);
}

static ALWAYS_INLINE int64_t lowbit_lane_sum(__m256i v, int variant) {
    if (variant & SIGNED_DATA) v = _mm256_srai_epi32(v, 8);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

static ALWAYS_INLINE int64_t lowbit_step8(const lowbit_state *s, const uint8_t *restrict x,
                                          const uint8_t *restrict next, const uint8_t *restrict words, int beta,
                                          int variant) {
    const lowbit_lanes8 k = {
        .whitening = _mm_loadu_si128((const __m128i *)words),
        .round_key = _mm_loadu_si128((const __m128i *)(words + 16)),
        .pair = _mm256_set1_epi16((short)((-beta & 0xFF) | 0x100)),
        .beta_bias = _mm256_set1_epi16((short)(beta * 128)),
        .flip = _mm256_set1_epi8((char)0x80),
        .lowest = _mm256_set1_epi16((short)s->code_min),
        .highest = _mm256_set1_epi16((short)s->code_max),
    };
    int8_t *const z = (int8_t *)s->z;
    const int16_t *const h = (const int16_t *)s->h;
    const uint8_t *const base = s->base;
    const size_t d = s->d, whole = d / 32 * 32;
    int64_t sum = 0;
    size_t j = 0;
    do {
        const size_t stop = whole - j < LOWBIT_CHUNK8 ? whole : j + LOWBIT_CHUNK8;
        __m256i product = _mm256_setzero_si256();
        for (; j < stop; j += 32)
            product = lowbit_block8(z + j, h + j, base + j, _mm256_loadu_si256((const __m256i *)(x + j)),
                                    _mm256_loadu_si256((const __m256i *)(next + j)), &k, product, variant);
        if (j == whole && j < d) { /* the codes beyond d are zero and stay zero */
            product = lowbit_block8(z + j, h + j, base + j, lowbit_tail8(x + j, d - j, s->end),
                                    lowbit_tail8(next + j, d - j, s->end), &k, product, variant);
            j = d;
        }
        sum += lowbit_lane_sum(product, variant);
    } while (j < d);
    return sum;
}

#else

static inline void lowbit_store_h8(int16_t *restrict h, const int16_t *restrict fine) { memcpy(h, fine, 128); }

static inline int sat16(int v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

static int64_t lowbit_step8(const lowbit_state *s, const uint8_t *restrict x, const uint8_t *restrict next,
                            const uint8_t *restrict words, int beta, int variant) {
    int8_t *restrict z = (int8_t *)s->z;
    const int16_t *restrict h = (const int16_t *)s->h;
    int64_t sum = 0;
    uint8_t dither[LOWBIT_BLOCK];
    for (size_t j = 0; j < s->d; j += LOWBIT_BLOCK) {
        dither_64(dither, s->base + j, words);
        const size_t stop = s->d - j < LOWBIT_BLOCK ? s->d : j + LOWBIT_BLOCK;
        for (size_t c = j; c < stop; c++) {
            const int step = sat16(dither[c - j] - beta * lowbit_data(x[c], variant) - h[c]);
            const int q = lowbit_clip(sat16(z[c] * 256 + step) >> LOWBIT_SHIFT, s->code_min, s->code_max);
            z[c] = (int8_t)q;
            sum += lowbit_data(next[c], variant) * q;
        }
    }
    return sum;
}

#endif

#endif /* LPNUM_LOWBIT_STEP8_H */
