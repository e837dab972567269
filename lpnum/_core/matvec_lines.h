/* Inner loops of products of codes and planes of digits (matvec_digits.h), at each SIMD level: matvec.h puts them together
 * for one product, lpnum_optim/_core/evaluation.h for a pass over the rows that takes both products of a block.
 *
 *   byte_rows, byte_strip     AVX-512: u8 (8-bit codes, biased by 128 if signed) times 8-bit digits, vpdpbusd
 *   half_rows, half_strip     int16 codes or 8-bit codes widened to int16 times digits in int16, vpmaddwd
 *   plain_row, plain_columns  the same in plain C, and the ragged ends
 *
 * `planes`: plane p of element k at [p * pitch + k].
 */
#include "elementwise.h"
#include "unroll.h"

enum { MATVEC_COLUMNS = 2048, MATVEC_CHUNK = 8192 };

/* The cases of a count of at most 5, so that it is constant within f. */
#define COUNT_CASES(f, ...)                                                                                            \
    case 1: f(__VA_ARGS__, 1); break;                                                                                  \
    case 2: f(__VA_ARGS__, 2); break;                                                                                  \
    case 3: f(__VA_ARGS__, 3); break;                                                                                  \
    case 4: f(__VA_ARGS__, 4); break;                                                                                  \
    default: f(__VA_ARGS__, 5); break;

static inline int group_of(int count, int most) { /* sizes of equal groups of planes, at most `most` each */
    const int groups = (count + most - 1) / most;
    return groups ? (count + groups - 1) / groups : 1;
}

/* Adds to sums[p * stride + j], plain C: the portable path, and the ragged ends of the others. `lines` lines of `n` codes
 * from column `first`; at most 64 lines keep the 32-bit sums within range. */
#define PLAIN_COLUMNS(type)                                                                                            \
    for (int p = 0; p < count; p++) {                                                                                  \
        int32_t partial[MATVEC_COLUMNS];                                                                               \
        memset(partial, 0, sizeof(int32_t) * n);                                                                       \
        for (size_t k = 0; k < lines; k++) {                                                                           \
            const type *restrict x = (const type *)(data + (ptrdiff_t)k * pitch);                                      \
            const int32_t digit = planes[(size_t)p * plane_pitch + k];                                                 \
            for (size_t j = 0; j < n; j++) partial[j] += digit * (int16_t)(x[j] - (sizeof(type) == 2 ? bias : 0));     \
        }                                                                                                              \
        for (size_t j = 0; j < n; j++) sums[p * stride + j] += partial[j];                                             \
    }

static inline void plain_columns(const char *data, ptrdiff_t pitch, int dtype, size_t lines, size_t n, int count,
                          const int16_t *planes, size_t plane_pitch, int64_t *restrict sums, size_t stride) {
    const int bias = dtype == LPNUM_U16 ? 32768 : 0;
    switch (dtype) {
    case LPNUM_I8: PLAIN_COLUMNS(int8_t) break;
    case LPNUM_U8: PLAIN_COLUMNS(uint8_t) break;
    case LPNUM_I16: PLAIN_COLUMNS(int16_t) break;
    default: PLAIN_COLUMNS(uint16_t) break;
    }
}
#undef PLAIN_COLUMNS

/* sums[p] += sum_k x[k] digit[p][k], plain C; 64 products fit 32 bits. */
#define PLAIN_ROW(type)                                                                                                \
    for (int p = 0; p < count; p++) {                                                                                  \
        const int16_t *restrict plane = planes + (size_t)p * plane_pitch;                                              \
        const type *restrict x = (const type *)data;                                                                   \
        for (size_t first = begin; first < end; first += 64) {                                                         \
            const size_t stop = end - first < 64 ? end : first + 64;                                                   \
            int32_t partial = 0;                                                                                       \
            for (size_t k = first; k < stop; k++)                                                                      \
                partial += (int16_t)(x[k] - (sizeof(type) == 2 ? bias : 0)) * plane[k];                                \
            sums[p] += partial;                                                                                        \
        }                                                                                                              \
    }

static inline void plain_row(const char *data, int dtype, size_t begin, size_t end, int count, const int16_t *planes,
                      size_t plane_pitch, int64_t *restrict sums) {
    const int bias = dtype == LPNUM_U16 ? 32768 : 0;
    switch (dtype) {
    case LPNUM_I8: PLAIN_ROW(int8_t) break;
    case LPNUM_U8: PLAIN_ROW(uint8_t) break;
    case LPNUM_I16: PLAIN_ROW(int16_t) break;
    default: PLAIN_ROW(uint16_t) break;
    }
}
#undef PLAIN_ROW

#if LPNUM_X86 && LPNUM_LEVEL >= 1
/* 16 codes as int16. */
GEMM_INLINE __m256i codes_16(const char *data, size_t k, const int dtype) {
    if (dtype == LPNUM_I8) return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(data + k)));
    if (dtype == LPNUM_U8) return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(data + k)));
    const __m256i x = _mm256_loadu_si256((const __m256i *)(data + 2 * k));
    return dtype == LPNUM_I16 ? x : _mm256_xor_si256(x, _mm256_set1_epi16((short)0x8000));
}

static inline int64_t lanes_sum(__m256i v) { /* of int32, in 64 bits */
    __m256i s = _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(v)),
                                 _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1)));
    const __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    return _mm_cvtsi128_si64(t) + _mm_extract_epi64(t, 1);
}

/* Two rows at once; 1024 codes: 64 pairs of products below 2^24 in each lane. `count` planes from `planes`. */
GEMM_INLINE void half_rows(const char *x0, const char *x1, const int dtype, size_t begin, size_t end, const int16_t *planes,
                           size_t pitch, int64_t *sums0, int64_t *sums1, const int count) {
    for (size_t first = begin; first < end; first += 1024) {
        const size_t stop = end - first < 1024 ? end : first + 1024;
        __m256i a[5], b[5];
        GEMM_UNROLL for (int p = 0; p < count; p++) a[p] = b[p] = _mm256_setzero_si256();
        for (size_t k = first; k < stop; k += 16) {
            const __m256i u = codes_16(x0, k, dtype), v = codes_16(x1, k, dtype);
            GEMM_UNROLL for (int p = 0; p < count; p++) {
                const __m256i digit = _mm256_loadu_si256((const __m256i *)(planes + p * pitch + k));
                a[p] = _mm256_add_epi32(a[p], _mm256_madd_epi16(u, digit));
                GEMM_KEEP(a[p]);
                b[p] = _mm256_add_epi32(b[p], _mm256_madd_epi16(v, digit));
                GEMM_KEEP(b[p]);
            }
        }
        GEMM_UNROLL for (int p = 0; p < count; p++) sums0[p] += lanes_sum(a[p]), sums1[p] += lanes_sum(b[p]);
    }
}

/* A strip of 16 columns over `pairs` pairs of lines (at most 32), for `count` planes. */
GEMM_INLINE void half_strip(const char *data, ptrdiff_t pitch, const int dtype, size_t j, size_t pairs,
                            const int16_t *planes, size_t plane_pitch, int64_t *sums, size_t stride, const int count) {
    __m256i low[5], high[5];
    GEMM_UNROLL for (int p = 0; p < count; p++) low[p] = high[p] = _mm256_setzero_si256();
    for (size_t q = 0; q < pairs; q++) {
        const char *line = data + (ptrdiff_t)(2 * q) * pitch;
        const __m256i u = codes_16(line, j, dtype), v = codes_16(line + pitch, j, dtype);
        const __m256i l = _mm256_unpacklo_epi16(u, v), h = _mm256_unpackhi_epi16(u, v);
        GEMM_UNROLL for (int p = 0; p < count; p++) {
            int32_t two;
            memcpy(&two, planes + p * plane_pitch + 2 * q, 4);
            const __m256i digit = _mm256_set1_epi32(two);
            low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(l, digit));
            GEMM_KEEP(low[p]);
            high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(h, digit));
            GEMM_KEEP(high[p]);
        }
    }
    for (int p = 0; p < count; p++) {
        __m256i *at = (__m256i *)(sums + p * stride + j);
        const __m128i quarter[4] = {_mm256_castsi256_si128(low[p]), _mm256_castsi256_si128(high[p]),
                                    _mm256_extracti128_si256(low[p], 1), _mm256_extracti128_si256(high[p], 1)};
        for (int i = 0; i < 4; i++)
            _mm256_storeu_si256(at + i, _mm256_add_epi64(_mm256_loadu_si256(at + i), _mm256_cvtepi32_epi64(quarter[i])));
    }
}

/* Constant types for the loops above. */
#define HALF_CASES(type)                                                                                               \
    static void half_rows_##type(const char *x0, const char *x1, size_t begin, size_t end, const int16_t *planes,      \
                                 size_t pitch, int64_t *sums0, int64_t *sums1, int count) {                            \
        switch (count) {                                                                                               \
            COUNT_CASES(half_rows, x0, x1, LPNUM_##type, begin, end, planes, pitch, sums0, sums1)                      \
        }                                                                                                              \
    }                                                                                                                  \
    static void half_strip_##type(const char *data, ptrdiff_t pitch, size_t j, size_t pairs, const int16_t *planes,    \
                                  size_t plane_pitch, int64_t *sums, size_t stride, int count) {                       \
        switch (count) {                                                                                               \
            COUNT_CASES(half_strip, data, pitch, LPNUM_##type, j, pairs, planes, plane_pitch, sums, stride)            \
        }                                                                                                              \
    }
HALF_CASES(I8)
HALF_CASES(U8)
HALF_CASES(I16)
HALF_CASES(U16)
#undef HALF_CASES

typedef void (*half_rows_function)(const char *, const char *, size_t, size_t, const int16_t *, size_t, int64_t *, int64_t *,
                                   int);
typedef void (*half_strip_function)(const char *, ptrdiff_t, size_t, size_t, const int16_t *, size_t, int64_t *, size_t, int);
static const half_rows_function half_rows_of[4] = {half_rows_I8, half_rows_U8, half_rows_I16, half_rows_U16};
static const half_strip_function half_strip_of[4] = {half_strip_I8, half_strip_U8, half_strip_I16, half_strip_U16};
#endif

#if LPNUM_X86 && LPNUM_LEVEL == 2
/* Sums of the lanes of four vectors of int32, added to sums[r * stride]. */
static inline void add_lanes(__m512i a, __m512i b, __m512i c, __m512i d, int64_t *sums, size_t stride) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    int32_t four[4];
    _mm_storeu_si128((__m128i *)four, _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
    for (int r = 0; r < 4; r++) sums[r * stride] += four[r];
}

/* Four rows, `count` planes, while the rows `ahead` bytes further come from memory; k from begin to end (at most
 * MATVEC_CHUNK codes, which keeps the sum of all lanes in range).
 * The sum of plane p and row r is added to sums[r * stride + p]. */
GEMM_INLINE void byte_rows_of(const char *const row[4], ptrdiff_t ahead, __m512i flip, size_t begin, size_t end,
                              const int8_t *planes, size_t pitch, int64_t *sums, size_t stride, const int count) {
    __m512i total[4][6];
    GEMM_UNROLL for (int r = 0; r < 4; r++) GEMM_UNROLL for (int p = 0; p < count; p++) total[r][p] = _mm512_setzero_si512();
    for (size_t k = begin; k < end; k += 64) {
        const __mmask64 live = end - k >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (end - k)) - 1; /* digits beyond are 0 */
        __m512i x[4];
        GEMM_UNROLL for (int r = 0; r < 4; r++) {
            x[r] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, row[r] + k), flip);
            if (ahead) __builtin_prefetch(row[r] + ahead + k);
        }
        GEMM_UNROLL for (int p = 0; p < count; p++) {
            const __m512i digit = _mm512_loadu_si512(planes + p * pitch + k);
            GEMM_UNROLL for (int r = 0; r < 4; r++) {
                total[r][p] = _mm512_dpbusd_epi32(total[r][p], x[r], digit);
                GEMM_KEEP(total[r][p]);
            }
        }
    }
    GEMM_UNROLL for (int p = 0; p < count; p++)
        add_lanes(total[0][p], total[1][p], total[2][p], total[3][p], sums + p, stride);
}

static void byte_rows(const char *const row[4], ptrdiff_t ahead, __m512i flip, size_t begin, size_t end, const int8_t *planes,
                      size_t pitch, int64_t *sums, size_t stride, int count) {
    switch (count) {
    case 6: byte_rows_of(row, ahead, flip, begin, end, planes, pitch, sums, stride, 6); break;
        COUNT_CASES(byte_rows_of, row, ahead, flip, begin, end, planes, pitch, sums, stride)
    }
}

enum { BYTE_LINES = 128 };

/* A strip of 64 columns: four lines at a time are interleaved for vpdpbusd. Unpacking leaves column 16 l + 4 q + e (lane l,
 * element e) in register q; the sums keep that order until byte_column(). What lies `ahead` bytes further is asked for. */
static void byte_interleave(const char *data, ptrdiff_t pitch, size_t lines, __mmask64 live, __m512i flip, ptrdiff_t ahead,
                            __m512i *restrict out) {
    for (size_t k = 0; k < lines; k += 4) {
        __m512i x[4];
        GEMM_UNROLL for (size_t l = 0; l < 4; l++) {
            const char *line = data + (ptrdiff_t)(k + l < lines ? k + l : lines - 1) * pitch; /* digits beyond are 0 */
            x[l] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, line), flip);
            __builtin_prefetch(line + ahead); /* the lines of a block are too many streams for the hardware */
        }
        const __m512i l01 = _mm512_unpacklo_epi8(x[0], x[1]), h01 = _mm512_unpackhi_epi8(x[0], x[1]);
        const __m512i l23 = _mm512_unpacklo_epi8(x[2], x[3]), h23 = _mm512_unpackhi_epi8(x[2], x[3]);
        out[k] = _mm512_unpacklo_epi16(l01, l23), out[k + 1] = _mm512_unpackhi_epi16(l01, l23);
        out[k + 2] = _mm512_unpacklo_epi16(h01, h23), out[k + 3] = _mm512_unpackhi_epi16(h01, h23);
    }
}

GEMM_INLINE void byte_strip_of(const __m512i *x, size_t lines, const int8_t *planes, size_t plane_pitch, int32_t *sums,
                               const int count) {
    __m512i total[4][5];
    GEMM_UNROLL for (int p = 0; p < count; p++)
        GEMM_UNROLL for (int q = 0; q < 4; q++) total[q][p] = _mm512_loadu_si512(sums + 64 * p + 16 * q);
    for (size_t k = 0; k < lines; k += 4) {
        GEMM_UNROLL for (int p = 0; p < count; p++) {
            int32_t four;
            memcpy(&four, planes + p * plane_pitch + k, 4);
            const __m512i digit = _mm512_set1_epi32(four);
            GEMM_UNROLL for (int q = 0; q < 4; q++) {
                total[q][p] = _mm512_dpbusd_epi32(total[q][p], x[k + q], digit);
                GEMM_KEEP(total[q][p]);
            }
        }
    }
    GEMM_UNROLL for (int p = 0; p < count; p++)
        GEMM_UNROLL for (int q = 0; q < 4; q++) _mm512_storeu_si512(sums + 64 * p + 16 * q, total[q][p]);
}

static void byte_strip(const __m512i *x, size_t lines, const int8_t *planes, size_t plane_pitch, int32_t *sums, int count) {
    switch (count) {
        COUNT_CASES(byte_strip_of, x, lines, planes, plane_pitch, sums)
    }
}

static inline size_t byte_column(size_t j) { return j % 16 / 4 * 16 + j / 16 * 4 + j % 4; } /* of 64 */
#endif
