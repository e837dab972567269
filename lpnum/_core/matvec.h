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
#include "matvec_lines.h"

#ifdef __SIZEOF_INT128__

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
            plain_row(row[r], x->a.dtype, done, x->k, d->count, planes, d->pitch, sums[r]);
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
                plain_columns(data + (ptrdiff_t)even * x->a.k_stride, x->a.k_stride, x->a.dtype, 1, done, d->count,
                              planes + k + even, d->pitch, sums, MATVEC_COLUMNS);
#endif
            plain_columns(data + (ptrdiff_t)(done * size), x->a.k_stride, x->a.dtype, lines, n - done, d->count, planes + k,
                          d->pitch, sums + done, MATVEC_COLUMNS);
        }
        for (size_t j = 0; j < n; j++) x->out[first + j] = digits_value(d, sums + j, MATVEC_COLUMNS, bias);
    }
}

#if LPNUM_X86 && LPNUM_LEVEL == 2
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
                const int count = d->count - p < most ? d->count - p : most;
                byte_rows(row, p == 0 ? 4 * x->a.stride : 0, flip, k, end, plane, d->pitch, at, DIGITS_MAX, count);
            }
        }
        for (size_t r = 0; r < 4 && i + r < x->m; r++) x->out[i + r] = digits_value(d, sums + r * DIGITS_MAX, 1, bias);
    }
}

enum { BYTE_FLUSH = 16384 }; /* lines until the 32-bit sums go to 64 bits */

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
                byte_interleave(data, x->a.k_stride, lines, live, flip, 128, interleaved);
                for (int p = 0; p < d->count; p += most) {
                    const int8_t *plane = planes + (size_t)p * d->pitch + k;
                    int32_t *at = narrow + j / 64 * per_strip + 64 * (size_t)p;
                    const int count = d->count - p < most ? d->count - p : most;
                    byte_strip(interleaved, lines, plane, d->pitch, at, count);
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
