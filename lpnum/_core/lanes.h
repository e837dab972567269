/* Vectors of 32-bit lanes and the bytes packed from four of them, under one set of names for AVX2 and AVX-512: a kernel
 * written with them serves both. Bytes are packed within 128-bit lanes; `bytes_in_order` puts them right at the end. */
#ifndef LPNUM_LANES_H
#define LPNUM_LANES_H

#if LPNUM_X86 && LPNUM_LEVEL > 0
#define LPNUM_LANES 1

#if LPNUM_LEVEL == 2
#define LANES_OP(name) _mm512_##name
#define LANES_BITS(name) _mm512_##name##_si512
typedef __m512i lanes;
typedef __m512 float_lanes;
enum { N_LANES = 16, N_BYTES = 64 };
static inline lanes lanes_select(lanes a, lanes b, lanes then, lanes other) { /* a > b ? then : other */
    return _mm512_mask_mov_epi32(other, _mm512_cmpgt_epi32_mask(a, b), then);
}
static inline int lanes_any_greater(lanes a, lanes b) { return _mm512_cmpgt_epi32_mask(a, b) != 0; }
static inline float_lanes floats_floor(float_lanes x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline lanes bytes_equal(lanes a, lanes b) { return _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(a, b)); }
static inline lanes bytes_negative(lanes a) { return _mm512_movm_epi8(_mm512_movepi8_mask(a)); }
static inline lanes bytes_select(lanes mask, lanes then, lanes other) { /* mask: bytes 0 or -1 */
    return _mm512_ternarylogic_epi32(mask, then, other, 0xCA);
}
static inline lanes bytes_in_order(lanes packed) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), packed);
}
static inline lanes words_equal(lanes a, lanes b) { return _mm512_movm_epi16(_mm512_cmpeq_epi16_mask(a, b)); }
static inline lanes words_in_order(lanes packed) {
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
}
static inline lanes lanes_of_u16(const uint16_t *x) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x));
}
#else
#define LANES_OP(name) _mm256_##name
#define LANES_BITS(name) _mm256_##name##_si256
typedef __m256i lanes;
typedef __m256 float_lanes;
enum { N_LANES = 8, N_BYTES = 32 };
static inline lanes lanes_select(lanes a, lanes b, lanes then, lanes other) {
    return _mm256_blendv_epi8(other, then, _mm256_cmpgt_epi32(a, b));
}
static inline int lanes_any_greater(lanes a, lanes b) { return _mm256_movemask_epi8(_mm256_cmpgt_epi32(a, b)) != 0; }
static inline float_lanes floats_floor(float_lanes x) { return _mm256_floor_ps(x); }
static inline lanes bytes_equal(lanes a, lanes b) { return _mm256_cmpeq_epi8(a, b); }
static inline lanes bytes_negative(lanes a) { return _mm256_cmpgt_epi8(_mm256_setzero_si256(), a); }
static inline lanes bytes_select(lanes mask, lanes then, lanes other) { return _mm256_blendv_epi8(other, then, mask); }
static inline lanes bytes_in_order(lanes packed) {
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
static inline lanes words_equal(lanes a, lanes b) { return _mm256_cmpeq_epi16(a, b); }
static inline lanes words_in_order(lanes packed) { return _mm256_permute4x64_epi64(packed, 0xD8); }
static inline lanes lanes_of_u16(const uint16_t *x) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x)); }
#endif

static inline lanes lanes_load(const void *p) { return LANES_BITS(loadu)((const lanes *)p); }
static inline void lanes_store(void *p, lanes x) { LANES_BITS(storeu)((lanes *)p, x); }
static inline lanes lanes_of(int x) { return LANES_OP(set1_epi32)(x); }
static inline lanes words_of(int x) { return LANES_OP(set1_epi16)((short)x); }
static inline lanes bytes_of(int x) { return LANES_OP(set1_epi8)((char)x); }
static inline lanes lanes_zero(void) { return LANES_BITS(setzero)(); }
static inline lanes lanes_and(lanes a, lanes b) { return LANES_BITS(and)(a, b); }
static inline lanes lanes_or(lanes a, lanes b) { return LANES_BITS(or)(a, b); }
static inline lanes lanes_xor(lanes a, lanes b) { return LANES_BITS(xor)(a, b); }
static inline lanes lanes_and_not(lanes a, lanes b) { return LANES_BITS(andnot)(b, a); } /* a & ~b */
static inline lanes lanes_add(lanes a, lanes b) { return LANES_OP(add_epi32)(a, b); }
static inline lanes lanes_sub(lanes a, lanes b) { return LANES_OP(sub_epi32)(a, b); }
static inline lanes lanes_min(lanes a, lanes b) { return LANES_OP(min_epi32)(a, b); }
static inline lanes lanes_max(lanes a, lanes b) { return LANES_OP(max_epi32)(a, b); }
static inline lanes lanes_abs(lanes a) { return LANES_OP(abs_epi32)(a); }
static inline lanes lanes_shift_left(lanes a, __m128i count) { return LANES_OP(sll_epi32)(a, count); }
static inline lanes lanes_shift_right(lanes a, __m128i count) { return LANES_OP(srl_epi32)(a, count); }
static inline lanes lanes_shift_signed(lanes a, __m128i count) { return LANES_OP(sra_epi32)(a, count); }
static inline lanes lanes_sign(lanes a) { return LANES_OP(srai_epi32)(a, 31); } /* 0 or -1 */

static inline float_lanes floats_of(lanes bits) {
#if LPNUM_LEVEL == 2
    return _mm512_castsi512_ps(bits);
#else
    return _mm256_castsi256_ps(bits);
#endif
}
static inline lanes bits_of(float_lanes x) {
#if LPNUM_LEVEL == 2
    return _mm512_castps_si512(x);
#else
    return _mm256_castps_si256(x);
#endif
}
static inline float_lanes floats_add(float_lanes a, float_lanes b) { return LANES_OP(add_ps)(a, b); }
static inline float_lanes floats_sub(float_lanes a, float_lanes b) { return LANES_OP(sub_ps)(a, b); }
static inline float_lanes floats_mul(float_lanes a, float_lanes b) { return LANES_OP(mul_ps)(a, b); }
static inline float_lanes floats_div(float_lanes a, float_lanes b) { return LANES_OP(div_ps)(a, b); }
static inline float_lanes floats_of_integers(lanes a) { return LANES_OP(cvtepi32_ps)(a); }
static inline lanes floats_round(float_lanes a) { return LANES_OP(cvtps_epi32)(a); } /* to nearest, ties to even */

/* The low bytes of (r - bias), which must lie in 0..255 with r below 2^15; see bytes_in_order. */
static inline lanes bytes_pack(const lanes r[4], int bias) {
    const lanes b = LANES_OP(set1_epi16)((short)bias);
    const lanes low = LANES_OP(sub_epi16)(LANES_OP(packs_epi32)(r[0], r[1]), b);
    const lanes high = LANES_OP(sub_epi16)(LANES_OP(packs_epi32)(r[2], r[3]), b);
    return LANES_OP(packus_epi16)(low, high);
}

/* Bytes with the sign bits of r. */
static inline lanes bytes_pack_signs(const lanes r[4]) {
    return LANES_OP(packs_epi16)(LANES_OP(packs_epi32)(r[0], r[1]), LANES_OP(packs_epi32)(r[2], r[3]));
}

/* The same for 16-bit words, of two vectors; see words_in_order. */
static inline lanes words_pack(lanes low, lanes high) { return LANES_OP(packus_epi32)(low, high); }
static inline lanes words_pack_signs(lanes low, lanes high) { return LANES_OP(packs_epi32)(low, high); }
static inline lanes words_negative(lanes a) { return LANES_OP(srai_epi16)(a, 15); }

static inline lanes bytes_add_saturating(lanes a, lanes b) { return LANES_OP(adds_epi8)(a, b); }
static inline lanes bytes_sub_saturating(lanes a, lanes b) { return LANES_OP(subs_epi8)(a, b); }

#undef LANES_OP
#undef LANES_BITS

#else
#define LPNUM_LANES 0
#endif

#endif
