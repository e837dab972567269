/* Both products of a block of rows of 8-bit codes, with the inner loops of lpnum/_core/matvec_lines.h.
 *
 * The digits of all outputs are one list of planes, so that a row is loaded for several of them at once. The second
 * product finds the rows in the second-level cache, and asks for those of the next block meanwhile.
 */
#ifndef LPNUM_EVALUATION_CODES_H
#define LPNUM_EVALUATION_CODES_H

enum { EVALUATION_STRIP = 64 };

typedef struct {
    const char *data; /* of the block */
    size_t rows, d, stride;
    ptrdiff_t ahead; /* to the next block, or 0 */
    int is_signed;
} code_block;

typedef struct {
    digit_type *planes;
    size_t pitch;
    double *units;   /* of the outputs */
    int64_t *totals; /* outputs x PLANES */
} code_digits;

static void code_digits_of(const double *a, size_t n, size_t a_pitch, size_t outputs, code_digits *d) {
    for (size_t c = 0; c < outputs; c++)
        d->units[c] = split_digits(a + c * a_pitch, n, d->planes + c * PLANES * d->pitch, d->pitch, d->totals + c * PLANES);
}

/* m (OUT): output c of row i at [c * pitch + i]. sums: 4 x planes of scratch. */
static void code_margins(const code_block *b, const code_digits *v, size_t outputs, double step, double *restrict m,
                         size_t pitch, int64_t *restrict sums) {
    const size_t planes = outputs * PLANES, together = LPNUM_X86 && LPNUM_LEVEL == 2 ? 4 : 2;
    const int64_t bias = LPNUM_X86 && LPNUM_LEVEL == 2 && b->is_signed ? 128 : 0;
    for (size_t i = 0; i < b->rows; i += together) {
        const char *row[4];
        for (size_t r = 0; r < together; r++) row[r] = b->data + (i + r < b->rows ? i + r : b->rows - 1) * b->stride;
        memset(sums, 0, together * planes * sizeof *sums);
#if LPNUM_X86 && LPNUM_LEVEL == 2
        const __m512i flip = _mm512_set1_epi8(b->is_signed ? (char)0x80 : 0);
        const size_t most = (size_t)group_of((int)planes, 6);
        for (size_t k = 0; k < b->d; k += MATVEC_CHUNK) {
            const size_t end = b->d - k < MATVEC_CHUNK ? b->d : k + MATVEC_CHUNK;
            for (size_t p = 0; p < planes; p += most)
                byte_rows(row, p == 0 ? (ptrdiff_t)(4 * b->stride) : 0, flip, k, end, v->planes + p * v->pitch, v->pitch,
                          sums + p, planes, (int)(planes - p < most ? planes - p : most));
        }
#else
        const int dtype = b->is_signed ? LPNUM_I8 : LPNUM_U8;
        size_t done = 0;
#if LPNUM_X86 && LPNUM_LEVEL == 1
        const size_t most = (size_t)group_of((int)planes, 5);
        done = b->d / 16 * 16;
        for (size_t k = 0; k < done; k += MATVEC_CHUNK)
            for (size_t p = 0; p < planes; p += most)
                half_rows_of[dtype](row[0], row[1], k, done - k < MATVEC_CHUNK ? done : k + MATVEC_CHUNK,
                                    v->planes + p * v->pitch, v->pitch, sums + p, sums + planes + p,
                                    (int)(planes - p < most ? planes - p : most));
#endif
        for (size_t r = 0; r < together; r++)
            plain_row(row[r], dtype, done, b->d, (int)planes, v->planes, v->pitch, sums + r * planes);
#endif
        for (size_t c = 0; c < outputs; c++)
            for (size_t r = 0; r < together && i + r < b->rows; r++) {
                double value;
                JOIN_DIGITS(sums + r * planes + c * PLANES, 1, bias, v->totals + c * PLANES, value);
                m[c * pitch + i + r] = value * v->units[c] * step;
            }
    }
}

/* Adds the sums of `lines` rows to a strip: plane p of column e at [p * EVALUATION_STRIP + e]. */
static void code_strip(const code_block *b, size_t j, size_t planes, const code_digits *v, plane_sum *restrict sums,
                       void *restrict scratch) {
    const size_t width = b->d - j < EVALUATION_STRIP ? b->d - j : EVALUATION_STRIP;
#if LPNUM_X86 && LPNUM_LEVEL == 2
    const __m512i flip = _mm512_set1_epi8(b->is_signed ? (char)0x80 : 0);
    const __mmask64 live = width == 64 ? ~(__mmask64)0 : ((__mmask64)1 << width) - 1;
    const size_t most = (size_t)group_of((int)planes, 5);
    for (size_t k = 0; k < b->rows; k += BYTE_LINES) {
        const size_t lines = b->rows - k < BYTE_LINES ? b->rows - k : BYTE_LINES;
        byte_interleave(b->data + k * b->stride + j, (ptrdiff_t)b->stride, lines, live, flip, b->ahead, scratch);
        for (size_t p = 0; p < planes; p += most)
            byte_strip(scratch, lines, v->planes + p * v->pitch + k, v->pitch, sums + EVALUATION_STRIP * p,
                       (int)(planes - p < most ? planes - p : most));
    }
#else
    (void)scratch;
    const int dtype = b->is_signed ? LPNUM_I8 : LPNUM_U8;
    const ptrdiff_t pitch = (ptrdiff_t)b->stride;
    for (size_t k = 0; k < b->rows; k += 64) {
        const size_t lines = b->rows - k < 64 ? b->rows - k : 64;
        const char *data = b->data + k * b->stride + j;
        const digit_type *digits = v->planes + k;
        size_t done = 0;
#if LPNUM_X86 && LPNUM_LEVEL == 1
        const size_t most = (size_t)group_of((int)planes, 5), even = lines / 2 * 2;
        for (; done + 16 <= width; done += 16)
            for (size_t p = 0; p < planes; p += most)
                half_strip_of[dtype](data, pitch, done, even / 2, digits + p * v->pitch, v->pitch,
                                     sums + EVALUATION_STRIP * p, EVALUATION_STRIP,
                                     (int)(planes - p < most ? planes - p : most));
        if (even < lines)
            plain_columns(data + (ptrdiff_t)even * pitch, pitch, dtype, 1, done, (int)planes, digits + even, v->pitch, sums,
                          EVALUATION_STRIP);
#endif
        plain_columns(data + done, pitch, dtype, lines, width - done, (int)planes, digits, v->pitch, sums + done,
                      EVALUATION_STRIP);
    }
#endif
}

/* gradient: output c of column j at [c * pitch + j], strips in the order of the sums (code_column). */
static void code_gradient(const code_block *b, const code_digits *slopes, size_t outputs, double *restrict gradient,
                          size_t pitch, plane_sum *restrict sums, void *restrict scratch) {
    const size_t planes = outputs * PLANES;
    const int64_t bias = LPNUM_X86 && LPNUM_LEVEL == 2 && b->is_signed ? 128 : 0;
    for (size_t j = 0; j < b->d; j += EVALUATION_STRIP) {
        memset(sums, 0, planes * EVALUATION_STRIP * sizeof *sums);
        code_strip(b, j, planes, slopes, sums, scratch);
        for (size_t c = 0; c < outputs; c++) {
            const plane_sum *restrict at = sums + c * PLANES * EVALUATION_STRIP;
            const int64_t *restrict totals = slopes->totals + c * PLANES;
            double *restrict to = gradient + c * pitch + j;
            const double unit = slopes->units[c];
            for (size_t e = 0; e < EVALUATION_STRIP; e++) {
                double value;
                JOIN_DIGITS(at + e, EVALUATION_STRIP, bias, totals, value);
                to[e] += value * unit;
            }
        }
    }
}

/* Where code_gradient keeps column j. */
static inline size_t code_column(size_t j) {
#if LPNUM_X86 && LPNUM_LEVEL == 2
    return j / 64 * 64 + byte_column(j % 64);
#else
    return j;
#endif
}

/* Two codes to a byte, the even one in the low half. */
static void code_unpack(const uint8_t *restrict src, size_t d, int is_signed, uint8_t *restrict dst) {
    const uint8_t flip = is_signed ? 8 : 0;
    for (size_t k = 0; k < d / 2; k++) {
        dst[2 * k] = (uint8_t)(((src[k] & 15) ^ flip) - flip);
        dst[2 * k + 1] = (uint8_t)(((src[k] >> 4) ^ flip) - flip);
    }
    if (d & 1) dst[d - 1] = (uint8_t)(((src[d / 2] & 15) ^ flip) - flip);
}

#endif /* LPNUM_EVALUATION_CODES_H */
