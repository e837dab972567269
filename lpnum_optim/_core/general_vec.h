/* What the general path needs beside vec.h: 8 float64 lanes to and from codes, and the stochastic rounding itself.
 *
 * round_codes takes 8 values in fine units (2^-16 of the distance of neighboring codes) and 8 little-endian 16-bit
 * random words r:
 *
 *     code = (rint(min(max(fine, low), high)) + r) >> 16,      low = 2^16 * code_min, high = 2^16 * code_max
 *
 * in 32-bit integers, which hold high + 2^16 - 1 even for int16 codes. The clip before the rounding gives what a clip
 * after it would. NaN becomes code_min, as max(a, b) = a > b ? a : b and min(a, b) = a < b ? a : b. */
#ifndef LPNUM_GENERAL_VEC_H
#define LPNUM_GENERAL_VEC_H

#if LPNUM_X86 && LPNUM_LEVEL == 2

static inline vd vd_max(vd a, vd b) { return _mm512_max_pd(a, b); }
static inline vd vd_min(vd a, vd b) { return _mm512_min_pd(a, b); }
static inline void vd_store_f32(float *p, vd a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }
static inline __m256i general_round(vd fine, vd low, vd high, const uint8_t *words) {
    const __m256i v = _mm512_cvtpd_epi32(vd_min(vd_max(fine, low), high));
    const __m256i r = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)words));
    return _mm256_srai_epi32(_mm256_add_epi32(v, r), 16);
}
static inline vd round_codes_i8(int8_t *z, vd fine, vd low, vd high, const uint8_t *words) {
    const __m256i v = general_round(fine, low, high, words);
    _mm_storel_epi64((__m128i *)z, _mm256_cvtepi32_epi8(v));
    return _mm512_cvtepi32_pd(v);
}
static inline vd round_codes_i16(int16_t *z, vd fine, vd low, vd high, const uint8_t *words) {
    const __m256i v = general_round(fine, low, high, words);
    _mm_storeu_si128((__m128i *)z, _mm256_cvtepi32_epi16(v));
    return _mm512_cvtepi32_pd(v);
}

#elif LPNUM_X86 && LPNUM_LEVEL == 1

static inline vd vd_max(vd x, vd y) { return (vd){_mm256_max_pd(x.a, y.a), _mm256_max_pd(x.b, y.b)}; }
static inline vd vd_min(vd x, vd y) { return (vd){_mm256_min_pd(x.a, y.a), _mm256_min_pd(x.b, y.b)}; }
static inline void vd_store_f32(float *p, vd x) {
    _mm_storeu_ps(p, _mm256_cvtpd_ps(x.a)), _mm_storeu_ps(p + 4, _mm256_cvtpd_ps(x.b));
}
/* Eight codes in 16-bit lanes. */
static inline __m128i general_round(vd fine, vd low, vd high, const uint8_t *words) {
    const vd v = vd_min(vd_max(fine, low), high);
    const __m128i r = _mm_loadu_si128((const __m128i *)words), zero = _mm_setzero_si128();
    const __m128i a = _mm_add_epi32(_mm256_cvtpd_epi32(v.a), _mm_unpacklo_epi16(r, zero));
    const __m128i b = _mm_add_epi32(_mm256_cvtpd_epi32(v.b), _mm_unpackhi_epi16(r, zero));
    return _mm_packs_epi32(_mm_srai_epi32(a, 16), _mm_srai_epi32(b, 16));
}
static inline vd general_widen(__m128i v) {
    return (vd){vec_widen(_mm_cvtepi16_epi32(v)), vec_widen(_mm_cvtepi16_epi32(_mm_srli_si128(v, 8)))};
}
static inline vd round_codes_i8(int8_t *z, vd fine, vd low, vd high, const uint8_t *words) {
    const __m128i v = general_round(fine, low, high, words);
    _mm_storel_epi64((__m128i *)z, _mm_packs_epi16(v, v));
    return general_widen(v);
}
static inline vd round_codes_i16(int16_t *z, vd fine, vd low, vd high, const uint8_t *words) {
    const __m128i v = general_round(fine, low, high, words);
    _mm_storeu_si128((__m128i *)z, v);
    return general_widen(v);
}

#else

#define VD_CHOICE(name, relation)                                                            \
    static inline vd name(vd x, vd y) {                                                      \
        vd r;                                                                                \
        for (int l = 0; l < VD_LANES; l++) r.v[l] = x.v[l] relation y.v[l] ? x.v[l] : y.v[l]; \
        return r;                                                                            \
    }
VD_CHOICE(vd_max, >)
VD_CHOICE(vd_min, <)
#undef VD_CHOICE
static inline void vd_store_f32(float *p, vd x) {
    for (int l = 0; l < VD_LANES; l++) p[l] = (float)x.v[l];
}
/* Adding 1.5 * 2^52 rounds to the nearest-even integer and leaves it in the low bits. */
static inline int32_t general_rint(double v) {
    const double shifted = v + 6755399441055744.0;
    uint64_t bits;
    memcpy(&bits, &shifted, 8);
    return (int32_t)(uint32_t)bits;
}
#define ROUND_CODES(name, code)                                                              \
    static inline vd name(code *z, vd fine, vd low, vd high, const uint8_t *words) {         \
        const vd v = vd_min(vd_max(fine, low), high);                                        \
        vd r;                                                                                \
        for (int l = 0; l < VD_LANES; l++) {                                                 \
            const int32_t word = words[2 * l] | words[2 * l + 1] << 8;                       \
            const int32_t q = (general_rint(v.v[l]) + word) >> 16;                           \
            z[l] = (code)q;                                                                  \
            r.v[l] = (double)q;                                                              \
        }                                                                                    \
        return r;                                                                            \
    }
ROUND_CODES(round_codes_i8, int8_t)
ROUND_CODES(round_codes_i16, int16_t)
#undef ROUND_CODES

#endif

#endif /* LPNUM_GENERAL_VEC_H */
