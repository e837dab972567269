# cython: boundscheck=False, wraparound=False, cdivision=True
"""Thin wrappers of the kernels of Adam on 8-bit moments; arithmetic is in adam.h."""

from libc.stdint cimport int8_t, uint8_t, uint64_t

from lpnum._core import kernels as _lpnum_kernels
from lpnum._core.kernels cimport Contiguous
from lpnum_optim._moments.adam_api cimport *

BLOCK = ADAM_BLOCK
MANTISSA_BITS = SECOND_MANTISSA
BIAS = SECOND_BIAS

cdef enum:  # as in enum lpnum_dtype
    INT8 = 0
    UINT8 = 1
    FLOAT32 = 4

cdef const adam_kernels *KERNELS[3]
KERNELS[0] = &adam_kernels_baseline
KERNELS[1] = &adam_kernels_avx2
KERNELS[2] = &adam_kernels_avx512
for _level in range(3):
    KERNELS[_level].init()


cdef Contiguous _buffer(object array, str name, int dtype, size_t size, bint writable):
    cdef Contiguous buffer = Contiguous()
    buffer.take(array, writable)
    if buffer.dtype != dtype or buffer.size != size:
        kind = {INT8: "int8", UINT8: "uint8", FLOAT32: "float32"}[dtype]
        raise ValueError(f"{name}: expected {size} contiguous elements of {kind}")
    return buffer


def step(object parameter, object gradient, object first, object first_scales, object second, object second_scales, *,
         double sign=1.0, double l2=0.0, double keep=1.0, double beta1, double beta2, double step_size, double correction,
         double epsilon, uint64_t seed, uint64_t stream, size_t block=0):
    """One step of Adam in place: parameter and gradient in float32, moments as codes and scales of blocks.

    With g = sign * gradient + l2 * p ::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = keep * p - step_size * m / (sqrt(v) / correction + epsilon)

    Parameters
    ----------
    parameter, gradient : (n,) float32 arrays
    first, second : (n,) int8 and uint8 arrays
        Codes of m and v.
    first_scales, second_scales : (ceil(n / BLOCK),) uint8 arrays
    seed, stream : int
        Key of the random bits; a stream of its own for every tensor and step.
    block : int
        Number of the first block, where the arrays are part of larger ones: the random bits are those of the whole.
    """
    cdef Contiguous p = Contiguous()
    p.take(parameter, True)
    cdef size_t n = p.size, blocks = (p.size + ADAM_BLOCK - 1) // ADAM_BLOCK
    if p.dtype != FLOAT32:
        raise ValueError("parameter: expected contiguous elements of float32")
    cdef Contiguous g = _buffer(gradient, "gradient", FLOAT32, n, False)
    cdef Contiguous m = _buffer(first, "first", INT8, n, True)
    cdef Contiguous m_scales = _buffer(first_scales, "first_scales", UINT8, blocks, True)
    cdef Contiguous v = _buffer(second, "second", UINT8, n, True)
    cdef Contiguous v_scales = _buffer(second_scales, "second_scales", UINT8, blocks, True)
    cdef adam_tensor tensor
    tensor.parameter, tensor.gradient, tensor.n = <float *>p.view.buf, <const float *>g.view.buf, n
    tensor.first, tensor.first_scales = <int8_t *>m.view.buf, <uint8_t *>m_scales.view.buf
    tensor.second, tensor.second_scales = <uint8_t *>v.view.buf, <uint8_t *>v_scales.view.buf
    cdef adam_numbers numbers
    numbers.sign, numbers.l2, numbers.keep = <float>sign, <float>l2, <float>keep
    numbers.take1, numbers.beta2, numbers.take2 = <float>(1 - beta1), <float>beta2, <float>(1 - beta2)
    numbers.step_size, numbers.correction, numbers.epsilon = <float>step_size, <float>correction, <float>epsilon
    numbers.seed, numbers.stream, numbers.first_block = seed, stream, block
    cdef const adam_kernels *kernels = KERNELS[<int>_lpnum_kernels.simd_level()]
    with nogil:
        kernels.step(&tensor, &numbers)


def largest_magnitude(object values):
    """Largest magnitude of a contiguous float32 array; NaN if it has one, 0 if it is empty."""
    cdef Contiguous x = Contiguous()
    cdef float largest
    cdef const adam_kernels *kernels = KERNELS[<int>_lpnum_kernels.simd_level()]
    x.take(values, False)
    if x.dtype != FLOAT32:
        raise ValueError("values: expected contiguous elements of float32")
    with nogil:
        largest = kernels.largest(<const float *>x.view.buf, x.size)
    return largest
