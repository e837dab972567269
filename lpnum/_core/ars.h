/* Counter-based random bits: ARS-7 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11,
 * section 4.1): seven AES rounds with a Weyl sequence in place of the key schedule.
 *
 *     block(key, counter): 16 bytes = f(key, counter)        key = (seed, stream), counter = (index, 0)
 *
 * The bytes of blocks index, index+1, ... read as little-endian 16- or 32-bit words are the words of a stream; word i
 * belongs to element i of an operation, whatever the SIMD level, the memory layout or the number of threads.
 * Include after simd.h with LPNUM_LEVEL set. Call ars_init() once (under the import lock) before use.
 */
#ifndef LPNUM_ARS_H
#define LPNUM_ARS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { ARS_ROUNDS = 7 };
static const uint64_t ARS_WEYL_LO = 0x9E3779B97F4A7C15ull; /* golden ratio */
static const uint64_t ARS_WEYL_HI = 0xBB67AE8584CAA73Bull; /* sqrt(3) - 1 */

typedef struct {
    uint64_t seed, stream;
} ars_key;

#if LPNUM_X86 && LPNUM_LEVEL > 0

static inline void ars_init(void) {}

static inline __m128i ars_block(__m128i key, __m128i counter) {
    const __m128i weyl = _mm_set_epi64x((long long)ARS_WEYL_HI, (long long)ARS_WEYL_LO);
    __m128i v = _mm_xor_si128(counter, key);
    for (int round = 1; round < ARS_ROUNDS; round++) {
        key = _mm_add_epi64(key, weyl);
        v = _mm_aesenc_si128(v, key);
    }
    return _mm_aesenclast_si128(v, _mm_add_epi64(key, weyl));
}

#else

/* Software AES round for processors without AES instructions; tables are computed, not typed in. */
static uint8_t ars_sbox[256];
static uint32_t ars_table[256]; /* column (2s, s, s, 3s) of MixColumns for s = sbox[x], little-endian */

static inline uint8_t ars_double(uint8_t a) { return (uint8_t)((a << 1) ^ ((a >> 7) * 0x1B)); }

static void ars_init(void) {
    uint8_t p = 1, q = 1; /* q runs through the inverses of p: p * 3, q / 3 in GF(2^8) */
    do {
        p = (uint8_t)(p ^ ars_double(p));
        q ^= (uint8_t)(q << 1);
        q ^= (uint8_t)(q << 2);
        q ^= (uint8_t)(q << 4);
        if (q & 0x80) q ^= 0x09;
#define ROTL8(x, k) ((uint8_t)(((x) << (k)) | ((x) >> (8 - (k)))))
        ars_sbox[p] = (uint8_t)(q ^ ROTL8(q, 1) ^ ROTL8(q, 2) ^ ROTL8(q, 3) ^ ROTL8(q, 4) ^ 0x63);
#undef ROTL8
    } while (p != 1);
    ars_sbox[0] = 0x63;
    for (int x = 0; x < 256; x++) {
        const uint32_t s = ars_sbox[x], s2 = ars_double((uint8_t)s);
        ars_table[x] = s2 | (s << 8) | (s << 16) | ((s2 ^ s) << 24);
    }
}

static inline uint32_t ars_rotl(uint32_t x, int k) { return k ? (x << k) | (x >> (32 - k)) : x; }

/* One AES round (SubBytes, ShiftRows, MixColumns unless last, AddRoundKey) on four little-endian columns. Not inlined:
 * its unrolled code is long, and callers are many. */
#ifdef __GNUC__
__attribute__((noinline))
#endif
static void ars_aes_round(uint32_t v[4], const uint32_t key[4], int last) {
    uint32_t out[4];
    for (int c = 0; c < 4; c++) {
        uint32_t column = 0;
        for (int r = 0; r < 4; r++) {
            const uint8_t byte = (uint8_t)(v[(c + r) & 3] >> (8 * r));
            column ^= last ? (uint32_t)ars_sbox[byte] << (8 * r) : ars_rotl(ars_table[byte], 8 * r);
        }
        out[c] = column ^ key[c];
    }
    memcpy(v, out, sizeof(out));
}

static inline void ars_block_portable(ars_key key, uint64_t counter, uint32_t v[4]) {
    uint64_t lo = key.seed, hi = key.stream;
    const uint64_t a = counter ^ lo, b = hi;
    v[0] = (uint32_t)a, v[1] = (uint32_t)(a >> 32), v[2] = (uint32_t)b, v[3] = (uint32_t)(b >> 32);
    for (int round = 1; round <= ARS_ROUNDS; round++) {
        lo += ARS_WEYL_LO, hi += ARS_WEYL_HI;
        const uint32_t k[4] = {(uint32_t)lo, (uint32_t)(lo >> 32), (uint32_t)hi, (uint32_t)(hi >> 32)};
        ars_aes_round(v, k, round == ARS_ROUNDS);
    }
}

#endif

/* dst (OUT): 16 * n_blocks bytes = blocks first .. first + n_blocks - 1 of the stream. */
static void ars_fill(uint8_t *restrict dst, ars_key key, uint64_t first, size_t n_blocks) {
#if LPNUM_X86 && LPNUM_LEVEL == 2
    const __m512i weyl = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)ARS_WEYL_HI, (long long)ARS_WEYL_LO));
    __m512i keys[ARS_ROUNDS + 1];
    keys[0] = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)key.stream, (long long)key.seed));
    for (int r = 1; r <= ARS_ROUNDS; r++) keys[r] = _mm512_add_epi64(keys[r - 1], weyl);
    const __m512i four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    __m512i counter = _mm512_add_epi64(_mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0),
                                       _mm512_broadcast_i32x4(_mm_set_epi64x(0, (long long)first)));
    size_t i = 0;
    for (; i + 16 <= n_blocks; i += 16) { /* four registers in flight hide the latency of a round */
        __m512i v[4];
        for (int k = 0; k < 4; k++, counter = _mm512_add_epi64(counter, four)) v[k] = _mm512_xor_si512(counter, keys[0]);
        for (int r = 1; r < ARS_ROUNDS; r++)
            for (int k = 0; k < 4; k++) v[k] = _mm512_aesenc_epi128(v[k], keys[r]);
        for (int k = 0; k < 4; k++)
            _mm512_storeu_si512(dst + 16 * i + 64 * k, _mm512_aesenclast_epi128(v[k], keys[ARS_ROUNDS]));
    }
    for (; i < n_blocks; i += 4, counter = _mm512_add_epi64(counter, four)) {
        __m512i v = _mm512_xor_si512(counter, keys[0]);
        for (int r = 1; r < ARS_ROUNDS; r++) v = _mm512_aesenc_epi128(v, keys[r]);
        v = _mm512_aesenclast_epi128(v, keys[ARS_ROUNDS]);
        const size_t left = n_blocks - i;
        if (left >= 4)
            _mm512_storeu_si512(dst + 16 * i, v);
        else
            _mm512_mask_storeu_epi64(dst + 16 * i, (__mmask8)((1u << (2 * left)) - 1), v);
    }
#elif LPNUM_X86 && LPNUM_LEVEL == 1
    const __m128i weyl = _mm_set_epi64x((long long)ARS_WEYL_HI, (long long)ARS_WEYL_LO);
    __m128i keys[ARS_ROUNDS + 1];
    keys[0] = _mm_set_epi64x((long long)key.stream, (long long)key.seed);
    for (int r = 1; r <= ARS_ROUNDS; r++) keys[r] = _mm_add_epi64(keys[r - 1], weyl);
    size_t i = 0;
    for (; i + 8 <= n_blocks; i += 8) {
        __m128i v[8];
        for (int k = 0; k < 8; k++) v[k] = _mm_xor_si128(_mm_set_epi64x(0, (long long)(first + i + (size_t)k)), keys[0]);
        for (int r = 1; r < ARS_ROUNDS; r++)
            for (int k = 0; k < 8; k++) v[k] = _mm_aesenc_si128(v[k], keys[r]);
        for (int k = 0; k < 8; k++)
            _mm_storeu_si128((__m128i *)(dst + 16 * (i + (size_t)k)), _mm_aesenclast_si128(v[k], keys[ARS_ROUNDS]));
    }
    for (; i < n_blocks; i++)
        _mm_storeu_si128((__m128i *)(dst + 16 * i), ars_block(keys[0], _mm_set_epi64x(0, (long long)(first + i))));
#else
    for (size_t i = 0; i < n_blocks; i++) {
        uint32_t v[4];
        ars_block_portable(key, first + i, v);
        for (int c = 0; c < 4; c++)
            for (int r = 0; r < 4; r++) dst[16 * i + 4 * (size_t)c + (size_t)r] = (uint8_t)(v[c] >> (8 * r));
    }
#endif
}

#endif /* LPNUM_ARS_H */
