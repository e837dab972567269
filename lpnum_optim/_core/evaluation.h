/* One pass over the rows: margins, losses, slopes and gradient, block by block, so that memory is read once.
 *
 *   8-bit, 4-bit codes   evaluation_codes.h: exact products with the digits of v and of the slopes of a block, each
 *                        rounded once; then the blocks are added
 *   other dense rows     in float64: the sums of products.h
 *   sparse rows          in float64, one stored value after the other
 * Losses and slopes of a block are summed in 8 lanes, element i in lane i mod 8; lanes l and l + 4 are added, then l and
 * l + 2, 1. Same bits at every SIMD level; `lpnum_optim/_evaluation_reference.py` has the exact meaning.
 */
#ifndef LPNUM_EVALUATION_H
#define LPNUM_EVALUATION_H

#include <math.h>
#include <stdlib.h>

#include "evaluation_api.h"
#include "matvec_lines.h"
#include "evaluation_digits.h"
#include "evaluation_codes.h"
#include "evaluation_losses.h"

/* Scratch of a pass, all in one allocation. `pitch`: d rounded up to a whole strip. */
typedef struct {
    const evaluation_problem *p;
    int codes;
    size_t pitch;
    double *margins, *slopes; /* outputs x block */
    double *values;           /* block */
    double *work;             /* 4 block, for softmax */
    double *v;                /* floats: outputs x pitch; sparse: d x outputs */
    double *gradient;         /* the same */
    code_digits v_digits, slope_digits;
    int64_t *row_sums;
    plane_sum *strip;
    void *interleaved;
    uint8_t *unpacked; /* block x pitch, of 4-bit codes */
} evaluation_state;

static inline size_t up_to(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

static double eight_lanes_sum(const double *a, size_t n) {
    double lanes[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t l = 0; l < 8; l++) lanes[l] += a[i + l];
    for (; i < n; i++) lanes[i % 8] += a[i];
    for (size_t half = 4; half; half /= 2)
        for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

#define EVALUATION_KINDS(run)                \
    switch (p->x.kind) {                     \
        case X_INT8: run(X_INT8); break;     \
        case X_UINT8: run(X_UINT8); break;   \
        case X_INT16: run(X_INT16); break;   \
        case X_FLOAT32: run(X_FLOAT32); break; \
        default: run(X_FLOAT64); break;      \
    }

static void float_margins(evaluation_state *s, size_t first, size_t rows) {
    const evaluation_problem *p = s->p;
    const size_t row_bytes = p->x.d * x_item_size(p->x.kind);
    const uint8_t *const data = (const uint8_t *)p->x.data, *const end = data + p->x.n * row_bytes;
    for (size_t i = 0; i < rows; i += PRODUCT_ROWS) {
        const uint8_t *const row = data + (first + i) * row_bytes;
        for (size_t c = 0; c < p->outputs; c++) {
            const double *const v = s->v + c * s->pitch;
            double *const m = s->margins + c * p->block + i;
#define RUN(kind)                                                                                                   \
    if (i + PRODUCT_ROWS <= rows)                                                                                   \
        product_rows(row, v, p->x.d, p->x.step, m, PRODUCT_ROWS, end, kind);                                        \
    else                                                                                                            \
        for (size_t r = 0; i + r < rows; r++)                                                                       \
            product_rows(row + r * row_bytes, v, p->x.d, p->x.step, m + r, 1, end, kind);
            EVALUATION_KINDS(RUN)
#undef RUN
        }
    }
}

static void float_gradient(evaluation_state *s, size_t first, size_t rows, const double *slopes) {
    const evaluation_problem *p = s->p;
    const size_t row_bytes = p->x.d * x_item_size(p->x.kind);
    const uint8_t *const data = (const uint8_t *)p->x.data, *const end = data + p->x.n * row_bytes;
    for (size_t i = 0; i < rows; i += SUM_ROWS) {
        const uint8_t *const row = data + (first + i) * row_bytes;
        const size_t count = rows - i < SUM_ROWS ? rows - i : SUM_ROWS;
        for (size_t c = 0; c < p->outputs; c++) {
#define RUN(kind)                                                                                                   \
    if (count == SUM_ROWS)                                                                                          \
        sum_rows(row, slopes + c * p->block + i, p->x.d, s->gradient + c * s->pitch, SUM_ROWS, end, kind);          \
    else                                                                                                            \
        sum_rows(row, slopes + c * p->block + i, p->x.d, s->gradient + c * s->pitch, count, end, kind);
            EVALUATION_KINDS(RUN)
#undef RUN
        }
    }
}

/* The stored values of a range of rows; v and gradient have the outputs of a column side by side. */
#define SPARSE_PASS(name, type)                                                                                     \
    static void sparse_margins_##name(evaluation_state *s, size_t first, size_t rows) {                             \
        const evaluation_problem *p = s->p;                                                                         \
        const size_t outputs = p->outputs;                                                                          \
        const type *restrict values = (const type *)p->x.data;                                                      \
        for (size_t i = 0; i < rows; i++)                                                                           \
            for (size_t c = 0; c < outputs; c++) {                                                                  \
                double sum = 0.0;                                                                                   \
                for (int64_t k = p->x.row_start[first + i]; k < p->x.row_start[first + i + 1]; k++)                 \
                    sum += (double)values[k] * s->v[(size_t)p->x.columns[k] * outputs + c];                         \
                s->margins[c * p->block + i] = sum * p->x.step;                                                     \
            }                                                                                                       \
    }                                                                                                               \
    static void sparse_gradient_##name(evaluation_state *s, size_t first, size_t rows, const double *slopes) {      \
        const evaluation_problem *p = s->p;                                                                         \
        const size_t outputs = p->outputs;                                                                          \
        const type *restrict values = (const type *)p->x.data;                                                      \
        for (size_t i = 0; i < rows; i++)                                                                           \
            for (int64_t k = p->x.row_start[first + i]; k < p->x.row_start[first + i + 1]; k++) {                   \
                double *const at = s->gradient + (size_t)p->x.columns[k] * outputs;                                 \
                for (size_t c = 0; c < outputs; c++) at[c] += slopes[c * p->block + i] * (double)values[k];         \
            }                                                                                                       \
    }
SPARSE_PASS(i8, int8_t)
SPARSE_PASS(u8, uint8_t)
SPARSE_PASS(i16, int16_t)
SPARSE_PASS(f32, float)
SPARSE_PASS(f64, double)
#undef SPARSE_PASS

#define SPARSE_KINDS(run, ...)                            \
    switch (s->p->x.kind) {                               \
        case X_INT8: run##_i8(__VA_ARGS__); break;        \
        case X_UINT8: run##_u8(__VA_ARGS__); break;       \
        case X_INT16: run##_i16(__VA_ARGS__); break;      \
        case X_FLOAT32: run##_f32(__VA_ARGS__); break;    \
        default: run##_f64(__VA_ARGS__); break;           \
    }

static code_block evaluation_codes(const evaluation_state *s, size_t first, size_t rows) {
    const data_matrix *x = &s->p->x;
    const int packed = x->kind == X_INT4 || x->kind == X_UINT4;
    code_block b = {(const char *)x->data + first * x->d, rows, x->d, x->d, (ptrdiff_t)(s->p->block * x->d),
                    x->kind == X_INT8 || x->kind == X_INT4};
    if (packed) b.data = (const char *)s->unpacked, b.stride = s->pitch, b.ahead = 0;
    return b;
}

static void evaluation_unpack(evaluation_state *s, size_t first, size_t rows) {
    const data_matrix *x = &s->p->x;
    for (size_t i = 0; i < rows; i++)
        code_unpack((const uint8_t *)x->data + (first + i) * ((x->d + 1) / 2), x->d, x->kind == X_INT4,
                    s->unpacked + i * s->pitch);
}

static void evaluation_margins(evaluation_state *s, size_t first, size_t rows) {
    const evaluation_problem *p = s->p;
    const data_matrix *x = &p->x;
    if (s->codes) {
        if (s->unpacked) evaluation_unpack(s, first, rows);
        const code_block b = evaluation_codes(s, first, rows);
        code_margins(&b, &s->v_digits, p->outputs, x->step, s->margins, p->block, s->row_sums);
    } else if (x->columns) {
        SPARSE_KINDS(sparse_margins, s, first, rows)
    } else {
        float_margins(s, first, rows);
    }
}

static void evaluation_gradient(evaluation_state *s, size_t first, size_t rows, const double *slopes) {
    const evaluation_problem *p = s->p;
    if (s->codes) {
        if (s->unpacked && p->known) evaluation_unpack(s, first, rows);
        const code_block b = evaluation_codes(s, first, rows);
        code_digits_of(slopes, rows, p->block, p->outputs, &s->slope_digits);
        code_gradient(&b, &s->slope_digits, p->outputs, s->gradient, s->pitch, s->strip, s->interleaved);
    } else if (p->x.columns) {
        SPARSE_KINDS(sparse_gradient, s, first, rows, slopes)
    } else {
        float_gradient(s, first, rows, slopes);
    }
}

/* dst (OUT): n x outputs from outputs x pitch. */
static void store_samples(const double *restrict src, size_t n, size_t pitch, size_t outputs, double *restrict dst) {
    if (outputs == 1)
        memcpy(dst, src, n * sizeof(double));
    else
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < outputs; c++) dst[i * outputs + c] = src[c * pitch + i];
}

static void evaluation_block(evaluation_state *s, size_t first, size_t rows, evaluation_sums *sums) {
    const evaluation_problem *p = s->p;
    const size_t outputs = p->outputs, pitch = p->block;
    if (p->known)
        for (size_t i = 0; i < rows; i++)
            for (size_t c = 0; c < outputs; c++) s->margins[c * pitch + i] = p->margins[(first + i) * outputs + c];
    else
        evaluation_margins(s, first, rows);
    for (size_t c = 0; c < outputs; c++)
        for (size_t i = 0; i < rows; i++) s->margins[c * pitch + i] += p->intercept[c];
    if (p->margins) store_samples(s->margins, rows, pitch, outputs, p->margins + first * outputs);
    if (p->loss == EVALUATION_MARGINS) return;
    losses_of(p, first, rows, s->margins, s->slopes, s->values, s->work);
    if (p->slopes) store_samples(s->slopes, rows, pitch, outputs, p->slopes + first * outputs);
    if (p->weights) {
        const double *const weights = p->weights + first;
        for (size_t i = 0; i < rows; i++) s->values[i] *= weights[i];
        for (size_t c = 0; c < outputs; c++)
            for (size_t i = 0; i < rows; i++) s->slopes[c * pitch + i] *= weights[i];
    }
    sums->losses += eight_lanes_sum(s->values, rows);
    for (size_t c = 0; c < outputs; c++) sums->slopes[c] += eight_lanes_sum(s->slopes + c * pitch, rows);
    if (sums->rows) evaluation_gradient(s, first, rows, s->slopes);
}

/* Lays the scratch out from `base`; returns its size. */
static size_t evaluation_layout(evaluation_state *s, uint8_t *base) {
    const evaluation_problem *p = s->p;
    const size_t outputs = p->outputs, block = p->block, whole = up_to(block, 64), planes = outputs * PLANES;
    const int packed = p->x.kind == X_INT4 || p->x.kind == X_UINT4;
    size_t used = 0;
#define TAKE(at, count)                                                                                             \
    s->at = (void *)((uintptr_t)base + used), used += up_to((count) * sizeof *s->at, 64)
    TAKE(margins, outputs * block);
    TAKE(slopes, outputs * block);
    TAKE(values, block);
    TAKE(work, p->loss == LOSS_SOFTMAX ? 4 * block : 0);
    TAKE(v, s->codes ? 0 : outputs * s->pitch);
    TAKE(gradient, outputs * s->pitch);
    TAKE(v_digits.planes, s->codes ? planes * s->pitch : 0);
    TAKE(v_digits.units, outputs);
    TAKE(v_digits.totals, planes);
    TAKE(slope_digits.planes, s->codes ? planes * whole : 0);
    TAKE(slope_digits.units, outputs);
    TAKE(slope_digits.totals, planes);
    TAKE(row_sums, s->codes ? 4 * planes : 0);
    TAKE(strip, s->codes ? planes * EVALUATION_STRIP : 0);
    TAKE(unpacked, packed ? block * s->pitch : 0);
#undef TAKE
    s->interleaved = (void *)((uintptr_t)base + used), used += s->codes ? 64 * 128 : 0;
    if (!packed) s->unpacked = NULL;
    s->v_digits.pitch = s->pitch, s->slope_digits.pitch = whole;
    return used;
}

static void evaluation_begin(evaluation_state *s) {
    const evaluation_problem *p = s->p;
    const size_t outputs = p->outputs, d = p->x.d;
    memset(s->gradient, 0, outputs * s->pitch * sizeof(double));
    if (s->codes) {
        code_digits_of(p->v, d, d, outputs, &s->v_digits);
    } else if (p->x.columns) {
        for (size_t j = 0; j < d; j++)
            for (size_t c = 0; c < outputs; c++) s->v[j * outputs + c] = p->v[c * d + j];
    } else {
        memset(s->v, 0, outputs * s->pitch * sizeof(double));
        for (size_t c = 0; c < outputs; c++) memcpy(s->v + c * s->pitch, p->v + c * d, d * sizeof(double));
    }
}

static void evaluation_end(const evaluation_state *s, double *restrict rows) {
    const size_t outputs = s->p->outputs, d = s->p->x.d;
    const double step = s->p->x.step, *restrict gradient = s->gradient;
    for (size_t c = 0; c < outputs; c++)
        for (size_t j = 0; j < d; j++) {
            const size_t at = s->p->x.columns ? j * outputs + c : c * s->pitch + (s->codes ? code_column(j) : j);
            rows[c * d + j] = gradient[at] * step;
        }
}

static int evaluate_rows(const evaluation_problem *p, size_t first, size_t last, evaluation_sums *sums) {
    const int kind = p->x.kind, packed = kind == X_INT4 || kind == X_UINT4;
    const int narrow = !p->x.columns && (packed || kind == X_INT8 || kind == X_UINT8), fits = p->x.d <= (size_t)1 << 23;
    evaluation_state s = {.p = p, .codes = narrow && fits, .pitch = up_to(p->x.d, EVALUATION_STRIP)};
    if (packed && !fits) return EPOCH_TOO_WIDE;
    void *const memory = malloc(evaluation_layout(&s, NULL) + 64);
    if (!memory) return EPOCH_NO_MEMORY;
    evaluation_layout(&s, (uint8_t *)(((uintptr_t)memory + 63) / 64 * 64));
    evaluation_begin(&s);
    sums->losses = 0.0;
    for (size_t c = 0; c < p->outputs; c++) sums->slopes[c] = 0.0;
    for (size_t i = first; i < last; i += p->block)
        evaluation_block(&s, i, last - i < p->block ? last - i : p->block, sums);
    if (sums->rows) evaluation_end(&s, sums->rows);
    free(memory);
    return EPOCH_OK;
}

const evaluation_kernel LEVEL_NAME(evaluate_rows) = evaluate_rows;

#endif /* LPNUM_EVALUATION_H */
