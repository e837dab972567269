# The declarations of the C kernels' headers for Cython.

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint64_t


cdef extern from "simd.h" nogil:
    int lpnum_detect_level()
    int lpnum_detect_avx_vnni()


cdef extern from "gemm.h" nogil:
    enum:
        LPNUM_TILE
    ctypedef struct lpnum_matrix:
        const char *data
        ptrdiff_t stride, k_stride
        int dtype
        const float *values
    ctypedef struct lpnum_factor:
        const double *data
        ptrdiff_t stride
    ctypedef struct lpnum_scales:
        const double *data
        ptrdiff_t stride, k_stride
    ctypedef struct lpnum_product:
        size_t m, n, k
        lpnum_matrix a, b
        int out_dtype
        char *out
        ptrdiff_t out_row, out_column
        lpnum_factor step_a, step_b
        int n_terms
        lpnum_factor row_term[2]
        lpnum_factor column_term[2]
        size_t block
        lpnum_scales scales_a, scales_b
    bint LPNUM_BLOCKS(size_t block)
    ctypedef struct lpnum_matvec:
        size_t m, k
        lpnum_matrix a
        const double *v
        double *out


cdef extern from "elementwise.h" nogil:
    enum:
        LPNUM_MAXDIM
        LPNUM_GOT_INVALID
        LPNUM_GOT_OVERFLOW
    ctypedef struct lpnum_format:
        int code_min, code_max, is_float, mantissa_bits, min_exponent, magnitude_mask, sign_mask
        int finite_max, inf_code, nan_code, negative_zero, zero
        const double *values
    ctypedef struct lpnum_operand:
        int dtype, is_code
        const lpnum_format *format
        char *data
        char *step
        char *offset
        ptrdiff_t strides[64]
        ptrdiff_t step_strides[64]
        ptrdiff_t offset_strides[64]
    ctypedef struct lpnum_policy:
        int rounding, overflow, random_bits, has_nan_code, nan_code, count, dry_run
        uint64_t seed, stream, first_index
    ctypedef struct lpnum_events:
        int64_t total, overflow, underflow, inexact, invalid, first_overflow, first_invalid
    ctypedef struct lpnum_block_format:
        const lpnum_format *element
        const lpnum_format *scale
        size_t block
        int packed, power_of_two, shift, tie, scale_up, single
        double unit, largest
        int64_t threshold
        const double *values
    ctypedef struct lpnum_kernels:
        void (*random_words)(uint64_t, uint64_t, uint64_t, size_t, int, void *) noexcept nogil
        void (*map8)(const unsigned char *, const unsigned char *, unsigned char *, size_t) noexcept nogil
        void (*map8_pairs)(const unsigned char *, const unsigned char *, const unsigned char *, unsigned char *,
                           size_t) noexcept nogil
        int (*float_pairs)(int, const unsigned char *, const unsigned char *, const unsigned char *, unsigned char *, size_t,
                           const lpnum_format *, const lpnum_format *, const lpnum_format *, int) noexcept nogil
        void (*add_saturating)(const signed char *, const signed char *, signed char *, size_t, int) noexcept nogil
        int64_t (*sum_codes)(const void *, int, size_t) noexcept nogil
        int64_t (*dot_codes)(const void *, int, const void *, int, size_t) noexcept nogil
        size_t (*first_nonfinite)(const void *, int, size_t) noexcept nogil
        double (*float_value)(const lpnum_format *, int) noexcept nogil
        int (*pack4)(const unsigned char *, unsigned char *, size_t, int) noexcept nogil
        void (*unpack4)(const unsigned char *, unsigned char *, size_t, int) noexcept nogil
        double (*largest_finite)(const void *, int, size_t) noexcept nogil
        int (*quantize_blocks)(const lpnum_block_format *, int, const void *, size_t, double, unsigned char *,
                               unsigned char *, unsigned char *, const lpnum_policy *, lpnum_events *) noexcept nogil
        void (*dequantize_blocks)(const lpnum_block_format *, const unsigned char *, const unsigned char *, size_t,
                                  double, int, void *) noexcept nogil
        size_t (*gemm_workspace)(const lpnum_product *) noexcept nogil
        void (*gemm)(const lpnum_product *, void *) noexcept nogil
        size_t (*matvec_workspace)(const lpnum_matvec *) noexcept nogil
        int (*matvec)(const lpnum_matvec *, void *) noexcept nogil
        bint (*round_floats_applies)(const lpnum_format *, const lpnum_policy *) noexcept nogil
        void (*round_floats)(const void *, void *, void *, bint, size_t, const lpnum_format *, float,
                             const lpnum_policy *, int64_t *) noexcept nogil
        bint (*decode_floats_applies)(const lpnum_format *) noexcept nogil
        void (*decode_floats)(const void *, void *, bint, size_t, const lpnum_format *) noexcept nogil
        float (*largest_magnitude)(const void *, bint, size_t) noexcept nogil
    const lpnum_kernels *lpnum_kernels_of_level(int level, int vnni) noexcept nogil
    int lpnum_elementwise(const lpnum_kernels *kernels, int op, int n_in, const lpnum_operand *const *operands,
                          const lpnum_operand *out, int ndim, const ptrdiff_t *shape, const lpnum_policy *policy,
                          lpnum_events *events) noexcept nogil
