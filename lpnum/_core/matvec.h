/* Products of a matrix of codes and a float64 vector, at the speed of reading the codes once.
 *
 * The vector becomes planes of integer digits (matvec_digits.h), the codes are multiplied with each plane in integers,
 * and the sums of the planes are put together in 128 bits: the result is the exact sum, rounded once, at every level.
 *
 *   AVX-512, 8-bit codes   8-bit digits: u8 (codes, biased by 128 if signed) times s8 (digits), vpdpbusd
 *   else                   int16: 16-bit digits for 8-bit codes, 8-bit digits for 16-bit codes, vpmaddwd
 *
 * `rows`: the matrix is contiguous along the contracted axis, out[i] is a dot product. `columns`: along the result, out is
 * a sum of lines; then a block of lines is read at once so that each sum is loaded and stored seldom.
 */
#ifdef __SIZEOF_INT128__

enum { MATVEC_COLUMNS = 2048, MATVEC_CHUNK = 8192 };

/* Adds to sums[p * stride + j], plain C: the portable path, and the ragged ends of the others. `lines` lines of `n` codes
 * from column `first`; at most 64 lines keep the 32-bit sums within range. */
#define PLAIN_COLUMNS(type)                                                                                            \
    for (int p = 0; p < d->count; p++) {                                                                               \
        int32_t partial[MATVEC_COLUMNS];                                                                               \
        memset(partial, 0, sizeof(int32_t) * n);                                                                       \
        for (size_t k = 0; k < lines; k++) {                                                                           \
            const type *restrict x = (const type *)(data + (ptrdiff_t)k * pitch);                                      \
            const int32_t digit = planes[(size_t)p * d->pitch + k];                                                    \
            for (size_t j = 0; j < n; j++) partial[j] += digit * (int16_t)(x[j] - (sizeof(type) == 2 ? bias : 0));     \
        }                                                                                                              \
        for (size_t j = 0; j < n; j++) sums[p * stride + j] += partial[j];                                             \
    }

static void plain_columns(const char *data, ptrdiff_t pitch, int dtype, size_t lines, size_t n, const digits *d,
                          const int16_t *planes, int64_t *restrict sums, size_t stride) {
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
    for (int p = 0; p < d->count; p++) {                                                                               \
        const int16_t *restrict plane = planes + (size_t)p * d->pitch;                                                 \
        const type *restrict x = (const type *)data;                                                                   \
        for (size_t first = begin; first < end; first += 64) {                                                         \
            const size_t stop = end - first < 64 ? end : first + 64;                                                   \
            int32_t partial = 0;                                                                                       \
            for (size_t k = first; k < stop; k++)                                                                      \
                partial += (int16_t)(x[k] - (sizeof(type) == 2 ? bias : 0)) * plane[k];                                \
            sums[p] += partial;                                                                                        \
        }                                                                                                              \
    }

static void plain_row(const char *data, int dtype, size_t begin, size_t end, const digits *d, const int16_t *planes,
                      int64_t *restrict sums) {
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

/* Constant counts and types for the loops above. */
#define COUNT_CASES(f, dtype, count, ...)                                                                              \
    switch (count) {                                                                                                   \
    case 1: f(__VA_ARGS__, 1); break;                                                                                  \
    case 2: f(__VA_ARGS__, 2); break;                                                                                  \
    case 3: f(__VA_ARGS__, 3); break;                                                                                  \
    case 4: f(__VA_ARGS__, 4); break;                                                                                  \
    default: f(__VA_ARGS__, 5); break;                                                                                 \
    }
#define HALF_CASES(type)                                                                                               \
    static void half_rows_##type(const char *x0, const char *x1, size_t begin, size_t end, const int16_t *planes,      \
                                 size_t pitch, int64_t *sums0, int64_t *sums1, int count) {                            \
        COUNT_CASES(half_rows, type, count, x0, x1, LPNUM_##type, begin, end, planes, pitch, sums0, sums1)             \
    }                                                                                                                  \
    static void half_strip_##type(const char *data, ptrdiff_t pitch, size_t j, size_t pairs, const int16_t *planes,    \
                                  size_t plane_pitch, int64_t *sums, size_t stride, int count) {                       \
        COUNT_CASES(half_strip, type, count, data, pitch, LPNUM_##type, j, pairs, planes, plane_pitch, sums, stride)   \
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

static inline int group_of(int count, int most) { /* sizes of equal groups of planes, at most `most` each */
    const int groups = (count + most - 1) / most;
    return groups ? (count + groups - 1) / groups : 1;
}

static void halves_by_rows(const lpnum_matvec *x, const digits *d, const int16_t *planes, int bias) {
    for (size_t i = 0; i < x->m; i += 2) {
        const size_t last = i + 1 < x->m ? i + 1 : i;
        const char *row[2] = {x->a.data + (ptrdiff_t)i * x->a.stride, x->a.data + (ptrdiff_t)last * x->a.stride};
        int64_t sums[2][DIGITS_MAX] = {{0}};
        size_t done = 0;
#if LPNUM_X86 && LPNUM_LEVEL >= 1
        const int most = group_of(d->count, 5);
        done = x->k / 16 * 16;
        for (size_t k = 0; k < done; k += MATVEC_CHUNK)
            for (int p = 0; p < d->count; p += most) {
                const int count = d->count - p < most ? d->count - p : most;
                half_rows_of[x->a.dtype](row[0], row[1], k, done - k < MATVEC_CHUNK ? done : k + MATVEC_CHUNK,
                                         planes + (size_t)p * d->pitch, d->pitch, sums[0] + p, sums[1] + p, count);
            }
#endif
        for (int r = 0; r < 2 && i + r < x->m; r++) {
            plain_row(row[r], x->a.dtype, done, x->k, d, planes, sums[r]);
            x->out[i + r] = digits_value(d, sums[r], 1, bias);
        }
    }
}

static void halves_by_columns(const lpnum_matvec *x, const digits *d, const int16_t *planes, int bias, int64_t *sums) {
    const size_t size = x->a.dtype == LPNUM_I8 || x->a.dtype == LPNUM_U8 ? 1 : 2;
    for (size_t first = 0; first < x->m; first += MATVEC_COLUMNS) {
        const size_t n = x->m - first < MATVEC_COLUMNS ? x->m - first : MATVEC_COLUMNS;
        memset(sums, 0, sizeof(int64_t) * MATVEC_COLUMNS * (size_t)d->count);
        for (size_t k = 0; k < x->k; k += 64) {
            const size_t lines = x->k - k < 64 ? x->k - k : 64;
            const char *data = x->a.data + (ptrdiff_t)(first * size) + (ptrdiff_t)k * x->a.k_stride;
            size_t done = 0;
#if LPNUM_X86 && LPNUM_LEVEL >= 1
            const int most = group_of(d->count, 5);
            const size_t even = lines / 2 * 2;
            for (; done + 16 <= n; done += 16) {
                if (done * size % 64 == 0) /* a line of cache for each line of the matrix: too many streams for hardware */
                    for (size_t l = 0; l < lines; l++)
                        __builtin_prefetch(data + (ptrdiff_t)l * x->a.k_stride + (ptrdiff_t)(done * size + 128));
                for (int p = 0; p < d->count; p += most) {
                    const int count = d->count - p < most ? d->count - p : most;
                    half_strip_of[x->a.dtype](data, x->a.k_stride, done, even / 2, planes + (size_t)p * d->pitch + k,
                                              d->pitch, sums + (size_t)p * MATVEC_COLUMNS, MATVEC_COLUMNS, count);
                }
            }
            if (even < lines)
                plain_columns(data + (ptrdiff_t)even * x->a.k_stride, x->a.k_stride, x->a.dtype, 1, done, d,
                              planes + k + even, sums, MATVEC_COLUMNS);
#endif
            plain_columns(data + (ptrdiff_t)(done * size), x->a.k_stride, x->a.dtype, lines, n - done, d, planes + k,
                          sums + done, MATVEC_COLUMNS);
        }
        for (size_t j = 0; j < n; j++) x->out[first + j] = digits_value(d, sums + j, MATVEC_COLUMNS, bias);
    }
}

#if LPNUM_X86 && LPNUM_LEVEL == 2
/* Sums of the lanes of four vectors of int32, added to sums[r * DIGITS_MAX]. */
static inline void add_lanes(__m512i a, __m512i b, __m512i c, __m512i d, int64_t *sums) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    int32_t four[4];
    _mm_storeu_si128((__m128i *)four, _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
    for (int r = 0; r < 4; r++) sums[r * DIGITS_MAX] += four[r];
}

/* Four rows, `count` planes, while the rows `ahead` bytes further come from memory; k from begin to end (at most
 * MATVEC_CHUNK codes, which keeps the sum of all lanes in range). */
GEMM_INLINE void byte_rows(const char *const row[4], ptrdiff_t ahead, __m512i flip, size_t begin, size_t end,
                           const int8_t *planes, size_t pitch, int64_t *sums, const int count) {
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
        add_lanes(total[0][p], total[1][p], total[2][p], total[3][p], sums + p);
}

static void bytes_by_rows(const lpnum_matvec *x, const digits *d, const int8_t *planes, int bias) {
    const __m512i flip = _mm512_set1_epi8(x->a.dtype == LPNUM_I8 ? (char)0x80 : 0);
    const int most = group_of(d->count, 6);
    for (size_t i = 0; i < x->m; i += 4) {
        const char *row[4];
        int64_t sums[4 * DIGITS_MAX] = {0};
        for (size_t r = 0; r < 4; r++) row[r] = x->a.data + (ptrdiff_t)(i + r < x->m ? i + r : x->m - 1) * x->a.stride;
        for (size_t k = 0; k < x->k; k += MATVEC_CHUNK) {
            const size_t end = x->k - k < MATVEC_CHUNK ? x->k : k + MATVEC_CHUNK;
            for (int p = 0; p < d->count; p += most) {
                const int8_t *plane = planes + (size_t)p * d->pitch;
                int64_t *at = sums + p;
                switch (d->count - p < most ? d->count - p : most) {
                case 1: byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, 1); break;
                case 2: byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, 2); break;
                case 3: byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, 3); break;
                case 4: byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, 4); break;
                case 5: byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, 5); break;
                default: byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, 6); break;
                }
            }
        }
        for (size_t r = 0; r < 4 && i + r < x->m; r++) x->out[i + r] = digits_value(d, sums + r * DIGITS_MAX, 1, bias);
    }
}

enum { BYTE_LINES = 128, BYTE_FLUSH = 16384 };

/* A strip of 64 columns: four lines at a time are interleaved for vpdpbusd. Unpacking leaves column 16 l + 4 q + e (lane l,
 * element e) in register q; the sums keep that order until byte_column(). */
static void byte_interleave(const char *data, ptrdiff_t pitch, size_t lines, __mmask64 live, __m512i flip, __m512i *restrict out) {
    for (size_t k = 0; k < lines; k += 4) {
        __m512i x[4];
        GEMM_UNROLL for (size_t l = 0; l < 4; l++) {
            const char *line = data + (ptrdiff_t)(k + l < lines ? k + l : lines - 1) * pitch; /* digits beyond are 0 */
            x[l] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, line), flip);
            __builtin_prefetch(line + 128); /* the lines of a block are too many streams for the hardware */
        }
        const __m512i l01 = _mm512_unpacklo_epi8(x[0], x[1]), h01 = _mm512_unpackhi_epi8(x[0], x[1]);
        const __m512i l23 = _mm512_unpacklo_epi8(x[2], x[3]), h23 = _mm512_unpackhi_epi8(x[2], x[3]);
        out[k] = _mm512_unpacklo_epi16(l01, l23), out[k + 1] = _mm512_unpackhi_epi16(l01, l23);
        out[k + 2] = _mm512_unpacklo_epi16(h01, h23), out[k + 3] = _mm512_unpackhi_epi16(h01, h23);
    }
}

GEMM_INLINE void byte_strip(const __m512i *x, size_t lines, const int8_t *planes, size_t plane_pitch, int32_t *sums,
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

static inline size_t byte_column(size_t j) { return j % 16 / 4 * 16 + j / 16 * 4 + j % 4; } /* of 64 */

static void bytes_by_columns(const lpnum_matvec *x, const digits *d, const int8_t *planes, int bias, int64_t *sums) {
    const __m512i flip = _mm512_set1_epi8(x->a.dtype == LPNUM_I8 ? (char)0x80 : 0);
    const int most = group_of(d->count, 5);
    const size_t per_strip = (size_t)d->count * 64;
    int32_t *narrow = (int32_t *)(sums + MATVEC_COLUMNS * DIGITS_MAX);
    __m512i interleaved[BYTE_LINES];
    for (size_t first = 0; first < x->m; first += MATVEC_COLUMNS) {
        const size_t n = x->m - first < MATVEC_COLUMNS ? x->m - first : MATVEC_COLUMNS, all = (n + 63) / 64 * per_strip;
        memset(sums, 0, sizeof(int64_t) * all);
        memset(narrow, 0, sizeof(int32_t) * all);
        for (size_t k = 0; k < x->k; k += BYTE_LINES) {
            const size_t lines = x->k - k < BYTE_LINES ? x->k - k : BYTE_LINES;
            for (size_t j = 0; j < n; j += 64) {
                const __mmask64 live = n - j >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - j)) - 1;
                const char *data = x->a.data + (ptrdiff_t)(first + j) + (ptrdiff_t)k * x->a.k_stride;
                byte_interleave(data, x->a.k_stride, lines, live, flip, interleaved);
                for (int p = 0; p < d->count; p += most) {
                    const int8_t *plane = planes + (size_t)p * d->pitch + k;
                    int32_t *at = narrow + j / 64 * per_strip + 64 * (size_t)p;
                    switch (d->count - p < most ? d->count - p : most) {
                    case 1: byte_strip(interleaved, lines, plane, d->pitch, at, 1); break;
                    case 2: byte_strip(interleaved, lines, plane, d->pitch, at, 2); break;
                    case 3: byte_strip(interleaved, lines, plane, d->pitch, at, 3); break;
                    case 4: byte_strip(interleaved, lines, plane, d->pitch, at, 4); break;
                    default: byte_strip(interleaved, lines, plane, d->pitch, at, 5); break;
                    }
                }
            }
            if ((k + BYTE_LINES) % BYTE_FLUSH == 0 || k + BYTE_LINES >= x->k) {
                for (size_t i = 0; i < all; i++) sums[i] += narrow[i];
                memset(narrow, 0, sizeof(int32_t) * all);
            }
        }
        for (size_t j = 0; j < n; j++)
            x->out[first + j] = digits_value(d, sums + j / 64 * per_strip + byte_column(j % 64), 64, bias);
    }
}
#endif

static size_t matvec_workspace(const lpnum_matvec *x) {
    return 2 * DIGITS_MAX * (x->k + 64) + (sizeof(int64_t) + sizeof(int32_t)) * MATVEC_COLUMNS * DIGITS_MAX + 128;
}

/* x->k at most DIGITS_LENGTH; workspace of matvec_workspace(x) bytes. Returns 0 or a status of gemm.h. */
static int matvec(const lpnum_matvec *x, void *workspace) {
    const int narrow = x->a.dtype == LPNUM_I8 || x->a.dtype == LPNUM_U8, size = narrow ? 1 : 2;
    const int bytes = narrow && LPNUM_X86 && LPNUM_LEVEL == 2;
    int64_t *sums = (int64_t *)(((uintptr_t)workspace + 63) / 64 * 64);
    void *planes = sums + MATVEC_COLUMNS * DIGITS_MAX * 3 / 2;
    digits d;
    const int status = digits_split(x->v, x->k, bytes || !narrow ? 8 : 16, !bytes, planes, &d);
    if (status) return status;
    /* codes enter as u8 = code + 128 and as int16 = code - 32768 */
    const int bias = bytes ? (x->a.dtype == LPNUM_I8 ? -128 : 0) : x->a.dtype == LPNUM_U16 ? 32768 : 0;
    const int by_rows = x->a.k_stride == size && (x->a.stride != size || x->k >= x->m);
#if LPNUM_X86 && LPNUM_LEVEL == 2
    if (bytes && by_rows) bytes_by_rows(x, &d, planes, bias);
    else if (bytes) bytes_by_columns(x, &d, planes, bias, sums);
    else
#endif
    if (by_rows) halves_by_rows(x, &d, planes, bias);
    else halves_by_columns(x, &d, planes, bias, sums);
    return 0;
}

#else /* no 128-bit integers: the caller multiplies decoded tiles instead */

static size_t matvec_workspace(const lpnum_matvec *x) {
    (void)x;
    return 64;
}
static int matvec(const lpnum_matvec *x, void *workspace) {
    (void)x, (void)workspace;
    return LPNUM_MATVEC_TOO_WIDE;
}
#endif
