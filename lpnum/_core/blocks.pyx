# cython: boundscheck=False, wraparound=False, cdivision=True
"""Thin wrappers of the kernels of block formats, and of two codes in a byte."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from lpnum._core.kernels cimport Contiguous, Format, clear_events, events_tuple, kernels, set_policy
from lpnum._core.kernels_api cimport lpnum_block_format, lpnum_events, lpnum_policy


def pack4(object codes, object out, bint is_signed):
    """``out[k] = codes[2k] & 15 | codes[2k + 1] << 4`` for contiguous 1-byte arrays; False if a code exceeds four bits."""
    cdef Contiguous a = Contiguous(), b = Contiguous()
    cdef int fits
    a.take(codes, False)
    b.take(out, True)
    if a.view.itemsize != 1 or b.view.itemsize != 1 or b.size != (a.size + 1) // 2:
        raise ValueError("pack4 takes 1-byte arrays, the second of half the size")
    with nogil:
        fits = kernels.pack4(<unsigned char *>a.view.buf, <unsigned char *>b.view.buf, a.size, is_signed)
    return bool(fits)


def unpack4(object packed, object codes, bint is_signed):
    """The inverse of `pack4`."""
    cdef Contiguous a = Contiguous(), b = Contiguous()
    a.take(packed, False)
    b.take(codes, True)
    if a.view.itemsize != 1 or b.view.itemsize != 1 or a.size != (b.size + 1) // 2:
        raise ValueError("unpack4 takes 1-byte arrays, the first of half the size")
    with nogil:
        kernels.unpack4(<unsigned char *>a.view.buf, <unsigned char *>b.view.buf, b.size, is_signed)


cdef class BlockFormat:
    """A block format as the kernels take it; see ``lpnum_block_format`` in elementwise.h."""
    cdef lpnum_block_format c
    cdef Format element, scale
    cdef double values[256]

    def __init__(self, Format element not None, Format scale not None, *, size_t block, bint packed, double unit,
                 double largest, bint power_of_two, int shift, int tie, int64_t threshold, bint scale_up, bint single, object values):
        cdef int k
        if block < 1 or scale.c.values == NULL or len(values) > 256 or element.c.code_max > 255 or (packed and block % 2):
            raise ValueError("BlockFormat takes elements and scales of at most 8 bits, and blocks of at least one (packed: two)")
        self.element, self.scale = element, scale
        self.c.element, self.c.scale, self.c.block, self.c.packed = &element.c, &scale.c, block, packed
        self.c.unit, self.c.largest, self.c.power_of_two = unit, largest, power_of_two
        self.c.shift, self.c.tie, self.c.threshold = shift, tie, threshold
        self.c.scale_up, self.c.single = scale_up, single
        for k in range(256):
            self.values[k] = values[k] if k < len(values) else 0.0
        self.c.values = self.values

    cdef size_t blocks(self, Contiguous floats, Contiguous codes, Contiguous scales) except? -1:
        """Number of blocks, the same in all three buffers."""
        if self.c.block == 0:
            raise ValueError("BlockFormat without __init__")
        if floats.dtype < 4:
            raise TypeError("float32 or float64 expected")
        if codes.view.itemsize != 1 or scales.view.itemsize != 1:
            raise TypeError("codes of one byte expected")
        if floats.size % self.c.block or scales.size != floats.size // self.c.block:
            raise ValueError(f"{floats.size} values in blocks of {self.c.block} with {scales.size} scales")
        if codes.size != (floats.size // 2 if self.c.packed else floats.size):
            raise ValueError(f"{codes.size} bytes of codes for {floats.size} values")
        return scales.size


def quantize_blocks(BlockFormat fmt not None, object values, double tensor_scale, object codes, object scales,
                    int rounding=0, int overflow=0, int random_bits=16, uint64_t seed=0, uint64_t stream=0, bint count=False):
    """Codes and scale codes of contiguous blocks; see ``block.h``. Returns (status, events as a tuple)."""
    cdef Contiguous x = Contiguous(), c = Contiguous(), s = Contiguous()
    cdef lpnum_policy policy
    cdef lpnum_events events
    cdef unsigned char *work = NULL
    cdef size_t n_blocks
    cdef int status
    x.take(values, False)
    c.take(codes, True)
    s.take(scales, True)
    n_blocks = fmt.blocks(x, c, s)
    set_policy(&policy, rounding, overflow, random_bits, seed, stream, count)
    if fmt.c.packed:
        work = <unsigned char *>malloc(fmt.c.block if fmt.c.block > 1024 else 1024)
        if work == NULL:
            raise MemoryError()
    clear_events(&events)
    with nogil:
        status = kernels.quantize_blocks(&fmt.c, x.dtype, x.view.buf, n_blocks, tensor_scale,
                                         <unsigned char *>c.view.buf, <unsigned char *>s.view.buf, work, &policy, &events)
        free(work)
    return status, events_tuple(&events)


def dequantize_blocks(BlockFormat fmt not None, object codes, object scales, double tensor_scale, object out):
    """Values of contiguous blocks into a contiguous float32 or float64 array."""
    cdef Contiguous x = Contiguous(), c = Contiguous(), s = Contiguous()
    cdef size_t n_blocks
    c.take(codes, False)
    s.take(scales, False)
    x.take(out, True)
    n_blocks = fmt.blocks(x, c, s)
    with nogil:
        kernels.dequantize_blocks(&fmt.c, <unsigned char *>c.view.buf, <unsigned char *>s.view.buf, n_blocks,
                                  tensor_scale, x.dtype, x.view.buf)
