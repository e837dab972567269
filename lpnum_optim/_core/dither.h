/* Random bits of a low-bit epoch: a function of (seed, stream, step, position) alone.
 *
 * All bits come from ARS-7 (ars.h) with key (seed, stream); block(i) below is block i of that stream.
 *
 *     base       S_j   = block(j)                              16 bytes, for coordinates 16j .. 16j+15, once per epoch
 *     update t   A_t   = block(DITHER_STEPS + 3t)              whitening of the input of the round
 *                B_t   = block(DITHER_STEPS + 3t + 1)          round key
 *                u_t   = first 32-bit little-endian word of block(DITHER_STEPS + 3t + 2), over 2^32: rounds beta;
 *                        the second word rounds beta of the second step, where an update takes two
 *     dither     bytes of AESENC(S_j xor A_t, B_t)             byte k belongs to coordinate 16j + k
 *     refresh k  16-bit little-endian word c of the stream that starts at block(DITHER_REFRESH + k * n_blocks):
 *                coordinate c, n_blocks = ceil(d / 64) * 8
 *     change of the grid after run k of steps (0, 1, ...): the same from block(DITHER_CHANGE + 2k * n_blocks) for the
 *                codes, from block(DITHER_CHANGE + (2k + 1) * n_blocks) for h
 *
 * Why one AES round is enough for the dither: for fixed t it is a bijection of the independent S_j, and for fixed j a
 * bijection of the independent A_t, so bytes are uniform and independent along coordinates and along steps; two
 * coordinates over all steps are tied only through differentials of the S-box, four of which are mixed into each byte
 * (correlations below 2^-12). It costs one instruction per 16 (or 64) coordinates.
 */
#ifndef LPNUM_DITHER_H
#define LPNUM_DITHER_H

#include "ars.h"

static const uint64_t DITHER_STEPS = 1ull << 62, DITHER_REFRESH = 2ull << 62, DITHER_CHANGE = 3ull << 62;
enum { STEP_WORDS = 48 }; /* bytes of A_t, B_t and the block of u_t */

static inline double dither_uniform(const uint8_t *words) {
    uint32_t w = (uint32_t)words[32] | (uint32_t)words[33] << 8 | (uint32_t)words[34] << 16 | (uint32_t)words[35] << 24;
    return (double)w * 0x1p-32;
}

/* dst (OUT): 64 dither bytes of coordinates 64b .. 64b+63; base (IN): the 64 bytes of S for them. */
static inline void dither_64(uint8_t *restrict dst, const uint8_t *restrict base, const uint8_t *restrict words) {
#if LPNUM_X86 && LPNUM_LEVEL == 2
    const __m512i a = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)words));
    const __m512i b = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(words + 16)));
    _mm512_storeu_si512(dst, _mm512_aesenc_epi128(_mm512_xor_si512(_mm512_loadu_si512(base), a), b));
#elif LPNUM_X86 && LPNUM_LEVEL == 1
    const __m128i a = _mm_loadu_si128((const __m128i *)words), b = _mm_loadu_si128((const __m128i *)(words + 16));
    for (int j = 0; j < 64; j += 16) {
        const __m128i s = _mm_loadu_si128((const __m128i *)(base + j));
        _mm_storeu_si128((__m128i *)(dst + j), _mm_aesenc_si128(_mm_xor_si128(s, a), b));
    }
#else
    uint32_t key[4], v[4];
    for (int c = 0; c < 4; c++) {
        const uint8_t *w = words + 16 + 4 * c;
        key[c] = (uint32_t)w[0] | (uint32_t)w[1] << 8 | (uint32_t)w[2] << 16 | (uint32_t)w[3] << 24;
    }
    for (int j = 0; j < 64; j += 16) {
        for (int c = 0; c < 4; c++) {
            v[c] = 0;
            for (int r = 0; r < 4; r++) v[c] |= (uint32_t)(base[j + 4 * c + r] ^ words[4 * c + r]) << (8 * r);
        }
        ars_aes_round(v, key, 0);
        for (int c = 0; c < 4; c++)
            for (int r = 0; r < 4; r++) dst[j + 4 * c + r] = (uint8_t)(v[c] >> (8 * r));
    }
#endif
}

/* dst (OUT): bytes 2j, 2j + 1 of what dither_64 makes of all of base: the 16-bit word of coordinate j. */
static inline void dither_word16(uint8_t *restrict dst, const uint8_t *restrict base, const uint8_t *restrict words,
                                 size_t j) {
    const uint8_t *const s = base + j / 8 * 16;
#if LPNUM_X86 && LPNUM_LEVEL > 0
    const __m128i a = _mm_loadu_si128((const __m128i *)words), b = _mm_loadu_si128((const __m128i *)(words + 16));
    uint8_t bytes[16];
    _mm_storeu_si128((__m128i *)bytes, _mm_aesenc_si128(_mm_xor_si128(_mm_loadu_si128((const __m128i *)s), a), b));
    memcpy(dst, bytes + 2 * (j % 8), 2);
#else
    const int c = (int)(j % 8 / 2), r0 = (int)(j % 2) * 2; /* the word is half a column of the state */
    uint32_t column = 0;
    for (int r = 0; r < 4; r++) {
        const int at = 4 * ((c + r) & 3) + r;
        column ^= ars_rotl(ars_table[s[at] ^ words[at]], 8 * r);
    }
    dst[0] = (uint8_t)((column >> (8 * r0)) ^ words[16 + 4 * c + r0]);
    dst[1] = (uint8_t)((column >> (8 * (r0 + 1))) ^ words[16 + 4 * c + r0 + 1]);
#endif
}

#endif /* LPNUM_DITHER_H */
