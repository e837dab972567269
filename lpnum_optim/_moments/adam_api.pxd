# The declarations of adam_api.h for Cython.

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, uint8_t, uint64_t


cdef extern from "adam_api.h" nogil:
    enum:
        ADAM_BLOCK
        SECOND_MANTISSA
        SECOND_BIAS
    ctypedef struct adam_tensor:
        float *parameter
        const float *gradient
        int8_t *first
        uint8_t *second
        uint8_t *first_scales
        uint8_t *second_scales
        size_t n
    ctypedef struct adam_numbers:
        float sign, l2, keep, take1, beta2, take2, step_size, correction, epsilon
        uint64_t first_block, seed, stream
    ctypedef struct adam_kernels:
        void (*init)() noexcept nogil
        void (*step)(const adam_tensor *, const adam_numbers *) noexcept nogil
        float (*largest)(const float *, size_t) noexcept nogil
    const adam_kernels adam_kernels_baseline, adam_kernels_avx2, adam_kernels_avx512
