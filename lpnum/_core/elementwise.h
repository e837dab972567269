/* Elementwise operations between arrays of codes and floats: load (decode), operate, round, store, in one pass.
 *
 * An operand is plain memory with strides; a code operand also has a grid, value = offset + step * code, where step
 * and offset are scalars (stride 0) or arrays. All arithmetic is float64; the result is rounded once, when it is
 * stored. A new number format is a new dtype row in the load and store stages, a new operation a row in the table of
 * operations; neither touches the loops.
 */
#ifndef LPNUM_ELEMENTWISE_H
#define LPNUM_ELEMENTWISE_H

#include <stddef.h>
#include <stdint.h>

#include "gemm.h"

enum { LPNUM_MAXDIM = 64, LPNUM_MAXIN = 2 };

enum lpnum_dtype { LPNUM_I8, LPNUM_U8, LPNUM_I16, LPNUM_U16, LPNUM_F32, LPNUM_F64 };
enum lpnum_op { LPNUM_COPY, LPNUM_ADD, LPNUM_SUBTRACT, LPNUM_MULTIPLY, LPNUM_DIVIDE, LPNUM_N_OPS };
enum lpnum_rounding {
    LPNUM_NEAREST_EVEN,
    LPNUM_NEAREST_AWAY,
    LPNUM_TOWARDS_ZERO,
    LPNUM_TOWARDS_POSITIVE,
    LPNUM_TOWARDS_NEGATIVE,
    LPNUM_STOCHASTIC
};
enum lpnum_overflow { LPNUM_CLAMP, LPNUM_WRAP, LPNUM_ERROR, LPNUM_IEEE };
enum lpnum_status { LPNUM_OK = 0, LPNUM_GOT_INVALID = 1, LPNUM_GOT_OVERFLOW = 2 };

/* A number format. Fixed point: the value of a code is the code. Float: sign, exponent and mantissa fields; the value of
 * a finite magnitude c is its significand times 2^(exponent - mantissa_bits), subnormal below min_exponent. */
typedef struct {
    int code_min, code_max; /* stored range */
    int is_float;
    int mantissa_bits, min_exponent;
    int magnitude_mask, sign_mask;     /* sign_mask 0: unsigned */
    int finite_max, inf_code, nan_code; /* magnitude of the largest finite value; codes, -1 if there is none */
    int negative_zero;                 /* -0 has a code */
    int zero;                          /* 0: code 0 is the power 2^min_exponent */
    const double *values;              /* of all codes, for formats of at most 8 bits; else NULL */
} lpnum_format;

/* One strided vector: `count` of a row is passed beside it. Strides are in bytes. */
typedef struct {
    char *data;
    ptrdiff_t stride;
} lpnum_vector;

typedef struct {
    int dtype;
    int is_code;
    lpnum_vector codes;        /* codes, or the floats themselves */
    lpnum_vector step, offset; /* float64; only with is_code */
    const lpnum_format *format; /* only with is_code */
} lpnum_row;

typedef struct {
    int dtype, is_code;
    char *data, *step, *offset;
    ptrdiff_t strides[LPNUM_MAXDIM], step_strides[LPNUM_MAXDIM], offset_strides[LPNUM_MAXDIM];
    const lpnum_format *format;
} lpnum_operand;

typedef struct {
    int rounding, overflow;
    int random_bits;       /* 1..32; up to 16 they come from 16-bit words, else from 32-bit words */
    uint64_t seed, stream; /* key of the random bits; element i of the output (C order) uses word first_index + i */
    uint64_t first_index;
    int has_nan_code, nan_code;
    int count;   /* fill all event counters (slower) */
    int dry_run; /* round and report, store nothing */
} lpnum_policy;

typedef struct {
    int64_t total, overflow, underflow, inexact, invalid;
    int64_t first_overflow, first_invalid; /* C-order index, -1 if none */
} lpnum_events;

enum lpnum_tie { LPNUM_TIE_DOWN, LPNUM_TIE_UP, LPNUM_TIE_EVEN };

/* Elements that share a scale; see block.h. */
typedef struct {
    const lpnum_format *element, *scale;
    size_t block;         /* elements per scale */
    int packed;           /* two element codes to a byte */
    double unit, largest; /* of the elements: value of code 1 for fixed point (1 for floats), largest value */
    int power_of_two;     /* all scales are powers of two, and there is no tensor scale; then the scale of a block is: */
    int shift, tie;       /* code = biased float64 exponent of the largest magnitude + shift, + 1 where */
    int64_t threshold;    /* its mantissa (52 bits) is above the threshold, at the threshold as `tie` says */
    int scale_up;         /* other scales: rounded up instead of to nearest */
    int single;           /* element * scale is exact in float32, or there is no tensor scale */
    const double *values; /* of the 256 stored bytes (packed: the 16 codes) */
} lpnum_block_format;

/* One row of n elements; `index` is the C-order index of its first element. Returns an lpnum_status. */
typedef int (*lpnum_row_function)(int op, int n_in, const lpnum_row *in, const lpnum_row *out, size_t n, uint64_t index,
                                  const lpnum_policy *policy, lpnum_events *events);

typedef struct {
    lpnum_row_function elementwise_row;
    void (*random_words)(uint64_t seed, uint64_t stream, uint64_t first, size_t n, int bits, void *words);
    void (*map8)(const uint8_t *restrict codes, const uint8_t *restrict table, uint8_t *restrict out, size_t n);
    void (*map8_pairs)(const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict table,
                       uint8_t *restrict out, size_t n);
    int (*float_pairs)(int op, const uint8_t *restrict a, const uint8_t *restrict b, const uint8_t *restrict table,
                       uint8_t *restrict out, size_t n, const lpnum_format *format_a, const lpnum_format *format_b,
                       const lpnum_format *format_out, int overflow);
    void (*add_saturating)(const int8_t *restrict a, const int8_t *restrict b, int8_t *restrict out, size_t n, int sign);
    int64_t (*sum_codes)(const void *codes, int dtype, size_t n);
    int64_t (*dot_codes)(const void *a, int a_dtype, const void *b, int b_dtype, size_t n);
    size_t (*first_nonfinite)(const void *values, int dtype, size_t n); /* n if all are finite */
    double (*float_value)(const lpnum_format *format, int code);
    int (*pack4)(const uint8_t *restrict codes, uint8_t *restrict out, size_t n, int is_signed);
    void (*unpack4)(const uint8_t *restrict packed, uint8_t *restrict codes, size_t n, int is_signed);
    double (*largest_finite)(const void *values, int dtype, size_t n);
    int (*quantize_blocks)(const lpnum_block_format *format, int dtype, const void *values, size_t n_blocks,
                           double tensor_scale, uint8_t *codes, uint8_t *scales, uint8_t *work, const lpnum_policy *policy,
                           lpnum_events *events);
    void (*dequantize_blocks)(const lpnum_block_format *format, const uint8_t *codes, const uint8_t *scales, size_t n_blocks,
                              double tensor_scale, int dtype, void *out);
    size_t (*gemm_workspace)(const lpnum_product *product); /* bytes */
    void (*gemm)(const lpnum_product *product, void *workspace);
    size_t (*matvec_workspace)(const lpnum_matvec *product);
    int (*matvec)(const lpnum_matvec *product, void *workspace);
    int (*round_floats_applies)(const lpnum_format *format, const lpnum_policy *policy);
    void (*round_floats)(const void *source, void *values, void *codes, int is_bfloat16, size_t n,
                         const lpnum_format *format, float threshold, const lpnum_policy *policy, int64_t beyond[2]);
    int (*decode_floats_applies)(const lpnum_format *format);
    void (*decode_floats)(const void *codes, void *values, int is_bfloat16, size_t n, const lpnum_format *format);
    float (*largest_magnitude)(const void *values, int is_bfloat16, size_t n);
} lpnum_kernels;

/* The kernels of a level; level must not exceed lpnum_detect_level(). `vnni`: with AVX-VNNI at the avx2 level, if it is
 * there. */
const lpnum_kernels *lpnum_kernels_of_level(int level, int vnni);

/* out = op(in...), all operands already broadcast to `shape` (stride 0 where repeated). */
int lpnum_elementwise(const lpnum_kernels *kernels, int op, int n_in, const lpnum_operand *const *in,
                      const lpnum_operand *out, int ndim, const ptrdiff_t *shape, const lpnum_policy *policy,
                      lpnum_events *events);

#endif
