/* 4-bit codes, two to a byte: element 2k in the low half of byte k, element 2k + 1 in the high half.
 *
 * Codes arrive and leave as bytes: unsigned 0..15, or two's complement -8..7 (`is_signed`).
 */
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LPNUM_LITTLE_ENDIAN 1
#else
#define LPNUM_LITTLE_ENDIAN 0
#endif

enum { PACK_BLOCK = 4096 };

/* out (OUT): (n + 1) / 2 bytes; the last high half is 0 if n is odd. Returns 0 if a code does not fit in four bits. */
static int pack4(const uint8_t *restrict codes, uint8_t *restrict out, size_t n, int is_signed) {
    const uint8_t bias = is_signed ? 8 : 0; /* moves the allowed range to 0..15 */
    uint8_t outside = 0;
    size_t i = 0; /* of codes */
#if LPNUM_X86 && LPNUM_LEVEL == 2
    const __m512i halves = _mm512_set1_epi8(15), biases = _mm512_set1_epi8((char)bias);
    __m512i seen = _mm512_setzero_si512();
    for (; i + 128 <= n; i += 128) {
        const __m512i a = _mm512_loadu_si512(codes + i), b = _mm512_loadu_si512(codes + i + 64);
        seen = _mm512_or_si512(seen, _mm512_or_si512(_mm512_add_epi8(a, biases), _mm512_add_epi8(b, biases)));
        const __m512i low_a = _mm512_and_si512(a, halves), low_b = _mm512_and_si512(b, halves);
        const __m256i first = _mm512_cvtepi16_epi8(_mm512_or_si512(low_a, _mm512_srli_epi16(low_a, 4)));
        const __m256i second = _mm512_cvtepi16_epi8(_mm512_or_si512(low_b, _mm512_srli_epi16(low_b, 4)));
        _mm512_storeu_si512(out + i / 2, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
    }
    if (_mm512_test_epi8_mask(seen, _mm512_set1_epi8((char)0xF0))) outside = 0xF0;
#elif LPNUM_X86 && LPNUM_LEVEL == 1
    const __m256i halves = _mm256_set1_epi8(15), biases = _mm256_set1_epi8((char)bias);
    const __m256i weights = _mm256_set1_epi16(0x1001); /* low byte 1, high byte 16 */
    __m256i seen = _mm256_setzero_si256();
    for (; i + 64 <= n; i += 64) {
        const __m256i a = _mm256_loadu_si256((const __m256i *)(codes + i));
        const __m256i b = _mm256_loadu_si256((const __m256i *)(codes + i + 32));
        seen = _mm256_or_si256(seen, _mm256_or_si256(_mm256_add_epi8(a, biases), _mm256_add_epi8(b, biases)));
        const __m256i first = _mm256_maddubs_epi16(_mm256_and_si256(a, halves), weights);
        const __m256i second = _mm256_maddubs_epi16(_mm256_and_si256(b, halves), weights);
        const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(first, second), 0xD8);
        _mm256_storeu_si256((__m256i *)(out + i / 2), bytes);
    }
    if (!_mm256_testz_si256(seen, _mm256_set1_epi8((char)0xF0))) outside = 0xF0;
#endif
    while (i < n) { /* two loops over what the first-level cache holds: compilers vectorize each */
        const size_t end = n - i < PACK_BLOCK ? n : i + PACK_BLOCK;
        for (size_t k = i; k < end; k++) outside |= (uint8_t)(codes[k] + bias);
#if LPNUM_LITTLE_ENDIAN
        const size_t pairs = (end - i) / 2;
        const uint8_t *restrict source = codes + i;
        uint8_t *restrict target = out + i / 2;
        for (size_t k = 0; k < pairs; k++) { /* a pair as a 16-bit number: 0x0H0L -> 0xHL */
            uint16_t pair;
            memcpy(&pair, source + 2 * k, 2);
            pair &= 0x0F0F;
            target[k] = (uint8_t)(pair | pair >> 4);
        }
        i += 2 * pairs;
#endif
        for (; i + 2 <= end; i += 2) out[i / 2] = (uint8_t)((codes[i] & 15) | codes[i + 1] << 4);
        if (i < end) {
            out[i / 2] = codes[i] & 15;
            i++;
        }
    }
    return !(outside & 0xF0);
}

/* codes (OUT): n bytes. */
static void unpack4(const uint8_t *restrict packed, uint8_t *restrict codes, size_t n, int is_signed) {
    const uint8_t sign = is_signed ? 8 : 0; /* (c ^ 8) - 8 extends the sign */
    size_t i = 0;
#if LPNUM_X86 && LPNUM_LEVEL == 2
    const __m512i halves = _mm512_set1_epi8(15), signs = _mm512_set1_epi8((char)sign);
    for (; i + 64 <= n; i += 64) {
        const __m512i wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(packed + i / 2)));
        const __m512i c = _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)), halves);
        _mm512_storeu_si512(codes + i, _mm512_sub_epi8(_mm512_xor_si512(c, signs), signs));
    }
#elif LPNUM_X86 && LPNUM_LEVEL == 1
    const __m256i halves = _mm256_set1_epi8(15), signs = _mm256_set1_epi8((char)sign);
    for (; i + 32 <= n; i += 32) {
        const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(packed + i / 2)));
        const __m256i c = _mm256_and_si256(_mm256_or_si256(wide, _mm256_slli_epi16(wide, 4)), halves);
        _mm256_storeu_si256((__m256i *)(codes + i), _mm256_sub_epi8(_mm256_xor_si256(c, signs), signs));
    }
#endif
#if LPNUM_LITTLE_ENDIAN
    const size_t pairs = (n - i) / 2;
    const uint8_t *restrict source = packed + i / 2;
    uint8_t *restrict target = codes + i;
    for (size_t k = 0; k < pairs; k++) { /* 0xHL -> 0x0H0L; times 30, bit 3 is repeated in bits 4 to 7 */
        const uint16_t wide = source[k], pair = (uint16_t)((wide | wide << 4) & 0x0F0F);
        const uint16_t extended = (uint16_t)(pair | (pair & sign * 0x0101) * 30);
        memcpy(target + 2 * k, &extended, 2);
    }
    i += 2 * pairs;
#endif
    for (; i + 2 <= n; i += 2) {
        codes[i] = (uint8_t)(((packed[i / 2] & 15) ^ sign) - sign);
        codes[i + 1] = (uint8_t)(((packed[i / 2] >> 4) ^ sign) - sign);
    }
    if (i < n) codes[i] = (uint8_t)(((packed[i / 2] & 15) ^ sign) - sign);
}
