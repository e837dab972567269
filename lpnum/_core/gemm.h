/* Products of matrices of codes: what the kernels of gemm_*.h and matvec.h take.
 *
 * A matrix lies in memory with any strides; 8 bits per code. A product computes one tile of the result; the caller cuts
 * the result into tiles (LPNUM_TILE at most), which may run in parallel, each with its own workspace.
 */
#ifndef LPNUM_GEMM_H
#define LPNUM_GEMM_H

#include <stddef.h>
#include <stdint.h>

enum { LPNUM_TILE = 1024 };
#define LPNUM_BLOCKS(block) ((block) >= 4 && (block) <= 256 && ((block) & ((block) - 1)) == 0) /* 4, 8 .. 256 */
enum lpnum_product_dtype { LPNUM_OUT_I32, LPNUM_OUT_I64, LPNUM_OUT_F32, LPNUM_OUT_F64 };

typedef struct {
    const char *data;
    ptrdiff_t stride, k_stride; /* bytes: along the axis of the result, and along the contracted axis */
    int dtype;                  /* enum lpnum_dtype */
    const float *values;        /* of the 256 codes, in a product of floats; else NULL */
} lpnum_matrix;

/* One number for each row or column of the result; stride in elements, 0 for one number for all. */
typedef struct {
    const double *data;
    ptrdiff_t stride;
} lpnum_factor;

/* float64 scales of the blocks of a matrix along the contracted axis, strides in bytes; no data means 1 for all. */
typedef struct {
    const double *data;
    ptrdiff_t stride, k_stride;
} lpnum_scales;

/* out[i, j] = step_a[i] * step_b[j] * sum_k a[i, k] b[k, j] + sum_t row_term[t][i] * column_term[t][j], in float64, then
 * rounded to the type of out. Integer outputs take the sums alone.
 *
 * With blocks, sum_t scales_a[i, t] scales_b[j, t] sum_(k in block t) a[i, k] b[k, j]: for a float result, of signed codes
 * or of floats; `block` satisfies LPNUM_BLOCKS and divides k. */
typedef struct {
    size_t m, n, k;
    lpnum_matrix a, b;
    int out_dtype; /* enum lpnum_product_dtype */
    char *out;
    ptrdiff_t out_row, out_column; /* bytes */
    lpnum_factor step_a, step_b;
    int n_terms; /* 0..2 */
    lpnum_factor row_term[2], column_term[2];
    size_t block; /* codes that share a scale; 0: none do */
    lpnum_scales scales_a, scales_b;
} lpnum_product;

/* out[i] = sum_k a[i, k] v[k] for codes a of 8 or 16 bits and float64 v: the exact sum, rounded once. One of the strides of
 * a is the size of a code. */
typedef struct {
    size_t m, k;
    lpnum_matrix a;
    const double *v;
    double *out;
} lpnum_matvec;

/* Statuses of a lpnum_matvec that is not done: NaN or infinity in v; exponents of v too far apart for one pass. */
enum { LPNUM_MATVEC_NOT_FINITE = 1, LPNUM_MATVEC_TOO_WIDE = 2 };

#endif
