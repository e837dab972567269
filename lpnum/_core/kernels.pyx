# cython: boundscheck=False, wraparound=False, cdivision=True
"""Thin wrappers of the C kernels: buffers and broadcasting in, status and event counts out. No arithmetic here."""

import os

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport strchr


cdef extern from "simd.h" nogil:
    int lpnum_detect_level()


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
    const lpnum_kernels *lpnum_kernels_of_level(int level) noexcept nogil
    int lpnum_elementwise(const lpnum_kernels *kernels, int op, int n_in, const lpnum_operand *const *operands,
                          const lpnum_operand *out, int ndim, const ptrdiff_t *shape, const lpnum_policy *policy,
                          lpnum_events *events) noexcept nogil


cdef extern from *:
    """
    void lpnum_init_baseline(void);
    """
    void lpnum_init_baseline()


SIMD_LEVELS = ("baseline", "avx2", "avx512")
TILE = LPNUM_TILE
MATVEC_LENGTH = 1 << 23

cdef int detected = lpnum_detect_level()
cdef int level = detected
cdef const lpnum_kernels *kernels = lpnum_kernels_of_level(level)
lpnum_init_baseline()


def simd_levels():
    """Names of the SIMD levels this processor can run, lowest first."""
    return SIMD_LEVELS[: detected + 1]


def simd_level():
    """The level in use: 0 baseline, 1 AVX2, 2 AVX-512."""
    return level


def set_simd_level(name):
    """Use the kernels of one level from now on (for tests and measurements); ``LPNUM_SIMD`` sets it at import."""
    global level, kernels
    if name not in SIMD_LEVELS:
        raise ValueError(f"LPNUM_SIMD: unknown SIMD level {name!r}; this processor runs {', '.join(simd_levels())}")
    if SIMD_LEVELS.index(name) > detected:
        raise ValueError(f"LPNUM_SIMD: this processor cannot run {name!r}; it runs {', '.join(simd_levels())}")
    level = SIMD_LEVELS.index(name)
    kernels = lpnum_kernels_of_level(level)


if os.environ.get("LPNUM_SIMD"):
    set_simd_level(os.environ["LPNUM_SIMD"])


cdef int dtype_of(Py_buffer *view) except -1:
    """The kernels' dtype number; itemsize decides between the names a platform gives one integer width."""
    cdef const char *code = view.format  # "B", "<d", "Zd" for complex
    if code == NULL:
        return 1
    if code[0] == 64 or code[0] == 61:  # "@" or "=": native
        code += 1
    if code[0] != 0 and code[1] == 0:
        if code[0] == 102:  # f
            return 4
        if code[0] == 100:  # d
            return 5
        if view.itemsize <= 2 and strchr("bhil", code[0]) != NULL:
            return 0 if view.itemsize == 1 else 2
        if view.itemsize <= 2 and strchr("BHIL", code[0]) != NULL:
            return 1 if view.itemsize == 1 else 3
    raise TypeError(f"lpnum kernels take int8, uint8, int16, uint16, float32 and float64 buffers, "
                    f"not {view.format.decode()!r}")


cdef int broadcast(Py_buffer *view, ptrdiff_t *strides, int ndim, const ptrdiff_t *shape) except -1:
    """Strides of `view` broadcast to `shape`."""
    cdef int k, missing = ndim - view.ndim
    if missing < 0:
        raise ValueError(f"an operand with {view.ndim} dimensions does not broadcast to {ndim}")
    for k in range(ndim):
        if k < missing:
            strides[k] = 0
        elif view.shape[k - missing] == shape[k]:
            strides[k] = view.strides[k - missing]
        elif view.shape[k - missing] == 1:
            strides[k] = 0
        else:
            raise ValueError(f"an operand of length {view.shape[k - missing]} on axis {k} does not broadcast to {shape[k]}")
    return 0


cdef class Format:
    """A number format as the kernels take it; see ``lpnum_format`` in elementwise.h."""
    cdef lpnum_format c
    cdef double table[256]

    def __init__(self, *, int code_min, int code_max, bint is_float=False, int mantissa_bits=0, int min_exponent=0,
                 int magnitude_mask=0, int sign_mask=0, int finite_max=0, int inf_code=-1, int nan_code=-1,
                 bint negative_zero=False, bint zero=True):
        cdef int code
        if not (-32768 <= code_min <= code_max <= 65535 and 0 <= mantissa_bits <= 16 and -1022 <= min_exponent <= 1023
                and 0 <= magnitude_mask <= 65535 and 0 <= sign_mask <= 32768 and 0 <= finite_max <= 65535
                and -1 <= inf_code <= 65535 and -1 <= nan_code <= 65535 and (code_min >= 0 or not is_float)):
            raise ValueError("Format: no number format of up to 16 bits has these fields")
        self.c.code_min, self.c.code_max, self.c.is_float = code_min, code_max, is_float
        self.c.mantissa_bits, self.c.min_exponent = mantissa_bits, min_exponent
        self.c.magnitude_mask, self.c.sign_mask, self.c.finite_max = magnitude_mask, sign_mask, finite_max
        self.c.inf_code, self.c.nan_code = inf_code, nan_code
        self.c.negative_zero, self.c.zero = negative_zero, zero
        self.c.values = NULL
        if is_float and code_max < 256:
            for code in range(256):  # codes wider than the format do not occur; 0 keeps the table whole
                self.table[code] = kernels.float_value(&self.c, code) if code <= code_max else 0.0
            self.c.values = self.table


    @property
    def unsigned_float(self):
        """Whether negative values have no place in the format, not even as the smallest one."""
        return bool(self.c.is_float) and self.c.sign_mask == 0


cdef struct Operand:
    # The buffers of one operand, held for the duration of a call, and what the kernels see of them.
    Py_buffer views[3]
    int held
    double step, offset
    lpnum_operand c


cdef int take(Operand *x, object array, int flags) except -1:
    PyObject_GetBuffer(array, &x.views[x.held], flags)
    x.held += 1
    return check_alignment(&x.views[x.held - 1])


cdef int check_alignment(Py_buffer *view) except -1:
    """Elements at their natural alignment: C allows no other, and compilers make vectors of it."""
    cdef int k
    cdef size_t bits = <size_t>view.buf
    for k in range(view.ndim):
        if view.shape[k] == 0:
            return 0
        bits |= <size_t>view.strides[k] if view.shape[k] > 1 else 0
    if bits % <size_t>view.itemsize:
        raise ValueError("lpnum kernels take aligned buffers; use np.require(array, requirements='A')")
    return 0


cdef int set_codes(Operand *x, object source, bint writable) except -1:
    """`source` is a float array, or (codes, step, offset, format)."""
    cdef int flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
    cdef Format format
    x.c.is_code = isinstance(source, tuple)
    if x.c.is_code and len(source) != 4:  # boundscheck is off in this module
        raise ValueError(f"an operand of codes is (codes, step, offset, format), not {len(source)} things")
    take(x, source[0] if x.c.is_code else source, flags)
    x.c.dtype = dtype_of(&x.views[0])
    x.c.data = <char *>x.views[0].buf
    if not x.c.is_code:
        if x.c.dtype < 4:
            raise TypeError("lpnum kernels take integer buffers only as codes of a grid")
        return 0
    if x.c.dtype > 3:
        raise TypeError("codes must be integers")
    format = source[3]
    if format is None:
        raise TypeError("codes need a Format")
    if format.c.is_float and x.c.dtype != (1 if format.c.values != NULL else 3):
        raise TypeError("codes of floats must be uint8, or uint16 for more than 8 bits")
    x.c.format = &format.c
    return 0


cdef int set_metadata(Operand *x, object value, double *number, char **data, ptrdiff_t *strides, int ndim,
                      const ptrdiff_t *shape) except -1:
    """Scale or offset: a number, or a float64 array that broadcasts."""
    cdef int k
    if isinstance(value, float):
        number[0] = value
        data[0] = <char *>number
        for k in range(ndim):
            strides[k] = 0
        return 0
    take(x, value, PyBUF_STRIDES | PyBUF_FORMAT)
    if dtype_of(&x.views[x.held - 1]) != 5:
        raise TypeError("scale and offset must be float64")
    data[0] = <char *>x.views[x.held - 1].buf
    return broadcast(&x.views[x.held - 1], strides, ndim, shape)


cdef int set_operand(Operand *x, object source, bint writable, int ndim, const ptrdiff_t *shape) except -1:
    if x.held == 0:
        set_codes(x, source, writable)
    broadcast(&x.views[0], x.c.strides, ndim, shape)
    if x.c.is_code:
        set_metadata(x, source[1], &x.step, &x.c.step, x.c.step_strides, ndim, shape)
        set_metadata(x, source[2], &x.offset, &x.c.offset, x.c.offset_strides, ndim, shape)
    return 0


cdef int set_policy(lpnum_policy *policy, int rounding, int overflow, int random_bits, uint64_t seed, uint64_t stream,
                    bint count) except -1:
    if not (0 <= rounding <= 5 and 0 <= overflow <= 3 and 1 <= random_bits <= 32):
        raise ValueError(f"no rounding {rounding}, overflow {overflow} with {random_bits} random bits")
    policy.rounding, policy.overflow, policy.random_bits = rounding, overflow, random_bits
    policy.seed, policy.stream, policy.count = seed, stream, count
    policy.has_nan_code = policy.nan_code = policy.dry_run = 0
    policy.first_index = 0
    return 0


def elementwise(int op, object a, object b, object out, int rounding=0, int overflow=0, int random_bits=16,
                uint64_t seed=0, uint64_t stream=0, object nan_code=None, bint count=False, bint dry_run=False,
                uint64_t first_index=0):
    """``out = op(a, b)``, rounded once; see ``elementwise.h``. Returns (status, events as a tuple).

    `first_index` is the C-order index of the first element: word ``first_index + i`` rounds element i.
    """
    cdef Operand operands[3]  # the inputs, then the target
    cdef const lpnum_operand *inputs[2]
    cdef lpnum_policy policy
    cdef lpnum_events events
    cdef int k, i, status, n_in = 1 if b is None else 2
    cdef int ndim
    cdef ptrdiff_t *shape
    if not (op == 0 if b is None else 1 <= op <= 4):
        raise ValueError(f"elementwise: no operation {op} of {n_in} operands")
    for i in range(3):
        operands[i].held = 0
    try:
        set_codes(&operands[2], out, True)
        ndim, shape = operands[2].views[0].ndim, <ptrdiff_t *>operands[2].views[0].shape
        set_operand(&operands[2], out, True, ndim, shape)
        set_operand(&operands[0], a, False, ndim, shape)
        if b is not None:
            set_operand(&operands[1], b, False, ndim, shape)
        for i in range(2):
            inputs[i] = &operands[i].c
        set_policy(&policy, rounding, overflow, random_bits, seed, stream, count)
        policy.has_nan_code, policy.nan_code = nan_code is not None, 0 if nan_code is None else nan_code
        policy.dry_run, policy.first_index = dry_run, first_index
        events.total = events.overflow = events.underflow = events.inexact = events.invalid = 0
        events.first_overflow = events.first_invalid = -1
        with nogil:
            status = lpnum_elementwise(kernels, op, n_in, inputs, &operands[2].c, ndim, shape, &policy, &events)
    finally:
        for i in range(3):
            for k in range(operands[i].held - 1, -1, -1):
                PyBuffer_Release(&operands[i].views[k])
    if status == 0 and not count:
        return 0, (events.total, 0, 0, 0, 0, -1, -1)
    return status, (events.total, events.overflow, events.underflow, events.inexact, events.invalid,
                    events.first_overflow, events.first_invalid)


cdef class Contiguous:
    """A C-contiguous buffer held for the duration of a call."""
    cdef Py_buffer view
    cdef bint held
    cdef int dtype
    cdef size_t size

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef int take(self, object array, bint writable) except -1:
        cdef int k
        cdef ptrdiff_t expected
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        self.dtype = dtype_of(&self.view)
        check_alignment(&self.view)
        self.size = self.view.len // self.view.itemsize
        expected = self.view.itemsize
        for k in range(self.view.ndim - 1, -1, -1):
            if self.view.shape[k] > 1 and self.view.strides[k] != expected:
                raise ValueError("a C-contiguous array is needed here")
            expected *= self.view.shape[k]
        return 0


def random_words(uint64_t seed, uint64_t stream, uint64_t first, object out):
    """Fill a contiguous int16/uint16 (16-bit words) or 1-byte view of 4n bytes (32-bit words) with stream words."""
    cdef Contiguous words = Contiguous()
    words.take(out, True)
    cdef int bits = 16 if words.view.itemsize == 2 else 32
    cdef size_t n = words.size if bits == 16 else words.size // 4
    with nogil:
        kernels.random_words(seed, stream, first, n, bits, words.view.buf)


def map8(object codes, object table, object out):
    """``out[i] = table[codes[i]]`` for contiguous 1-byte arrays and a table of 256 bytes."""
    cdef Contiguous a = Contiguous(), t = Contiguous(), b = Contiguous()
    a.take(codes, False)
    t.take(table, False)
    b.take(out, True)
    if a.view.itemsize != 1 or b.view.itemsize != 1 or t.view.itemsize != 1 or t.size != 256 or a.size != b.size:
        raise ValueError("map8 takes 1-byte arrays of one size and a table of 256 bytes")
    with nogil:
        kernels.map8(<unsigned char *>a.view.buf, <unsigned char *>t.view.buf, <unsigned char *>b.view.buf, a.size)


def map8_pairs(object a, object b, object table, object out):
    """``out[i] = table[256 * a[i] + b[i]]`` for contiguous 1-byte arrays and a table of 65,536 bytes."""
    cdef Contiguous p = Contiguous(), q = Contiguous(), t = Contiguous(), r = Contiguous()
    p.take(a, False)
    q.take(b, False)
    t.take(table, False)
    r.take(out, True)
    if not (p.view.itemsize == q.view.itemsize == t.view.itemsize == r.view.itemsize == 1):
        raise ValueError("map8_pairs takes 1-byte arrays")
    if p.size != q.size or p.size != r.size or t.size != 65536:
        raise ValueError("map8_pairs takes arrays of one size and a table of 65,536 bytes")
    with nogil:
        kernels.map8_pairs(<unsigned char *>p.view.buf, <unsigned char *>q.view.buf, <unsigned char *>t.view.buf,
                           <unsigned char *>r.view.buf, p.size)


def float_pairs(int op, object a, object b, object table, object out, Format format_a not None,
                Format format_b not None, Format format_out not None, int overflow):
    """``out = op(a, b)`` of contiguous 8-bit floats at scale 1, see float_pairs.h; False, with nothing done, if it cannot."""
    cdef Contiguous p = Contiguous(), q = Contiguous(), t = Contiguous(), r = Contiguous()
    cdef bint done
    p.take(a, False)
    q.take(b, False)
    t.take(table, False)
    r.take(out, True)
    if not (p.dtype == q.dtype == t.dtype == r.dtype == 1) or p.size != q.size or p.size != r.size or t.size != 65536:
        raise ValueError("float_pairs takes uint8 arrays of one size and a table of 65,536 bytes")
    with nogil:
        done = kernels.float_pairs(op, <unsigned char *>p.view.buf, <unsigned char *>q.view.buf,
                                   <unsigned char *>t.view.buf, <unsigned char *>r.view.buf, p.size, &format_a.c,
                                   &format_b.c, &format_out.c, overflow)
    return done


def add_saturating(object a, object b, object out, int sign):
    """``out = a + b`` (sign 1) or ``a - b`` (sign -1) of contiguous int8 arrays, saturating."""
    cdef Contiguous p = Contiguous(), q = Contiguous(), r = Contiguous()
    p.take(a, False)
    q.take(b, False)
    r.take(out, True)
    if p.dtype != 0 or q.dtype != 0 or r.dtype != 0 or p.size != q.size or p.size != r.size:
        raise ValueError("add_saturating takes int8 arrays of one size")
    with nogil:
        kernels.add_saturating(<signed char *>p.view.buf, <signed char *>q.view.buf, <signed char *>r.view.buf, p.size, sign)


def sum_codes(object codes):
    """Exact sum of a contiguous array of codes."""
    cdef Contiguous a = Contiguous()
    cdef int64_t total
    a.take(codes, False)
    if a.dtype > 3:
        raise TypeError("codes must be integers")
    with nogil:
        total = kernels.sum_codes(a.view.buf, a.dtype, a.size)
    return total


def dot_codes(object a, object b):
    """Exact sum of products of two contiguous arrays of codes of one size."""
    cdef Contiguous p = Contiguous(), q = Contiguous()
    cdef int64_t total
    p.take(a, False)
    q.take(b, False)
    if p.dtype > 3 or q.dtype > 3:
        raise TypeError("codes must be integers")
    if p.size != q.size:
        raise ValueError(f"dot of {p.size} and {q.size} codes")
    with nogil:
        total = kernels.dot_codes(p.view.buf, p.dtype, q.view.buf, q.dtype, p.size)
    return total


def first_nonfinite(object values):
    """Index of the first NaN or infinity in a contiguous float array, or None."""
    cdef Contiguous a = Contiguous()
    cdef size_t found
    a.take(values, False)
    if a.dtype < 4:
        raise TypeError("float32 or float64 expected")
    with nogil:
        found = kernels.first_nonfinite(a.view.buf, a.dtype, a.size)
    return None if found == a.size else found


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


def largest_finite(object values):
    """Largest magnitude of a contiguous float array, infinities and NaN left out; 0 if nothing is left."""
    cdef Contiguous a = Contiguous()
    cdef double largest
    a.take(values, False)
    if a.dtype < 4:
        raise TypeError("float32 or float64 expected")
    with nogil:
        largest = kernels.largest_finite(a.view.buf, a.dtype, a.size)
    return largest


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
    events.total = events.overflow = events.underflow = events.inexact = events.invalid = 0
    events.first_overflow = events.first_invalid = -1
    with nogil:
        status = kernels.quantize_blocks(&fmt.c, x.dtype, x.view.buf, n_blocks, tensor_scale,
                                         <unsigned char *>c.view.buf, <unsigned char *>s.view.buf, work, &policy, &events)
        free(work)
    return status, (events.total, events.overflow, events.underflow, events.inexact, events.invalid,
                    events.first_overflow, events.first_invalid)


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


cdef class Buffer:
    """A buffer with strides, held for the duration of a call."""
    cdef Py_buffer view
    cdef bint held

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef int take(self, object array, int ndim, bint writable) except -1:
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        if self.view.ndim != ndim:
            raise ValueError(f"a buffer of {ndim} dimensions is needed here, not {self.view.ndim}")
        return check_alignment(&self.view)

    cdef int take_codes(self, object array, lpnum_matrix *matrix) except -1:
        """A matrix of codes whose second axis is contracted."""
        self.take(array, 2, False)
        matrix.dtype = dtype_of(&self.view)
        if matrix.dtype > 3:
            raise TypeError("codes must be integers")
        matrix.data = <const char *>self.view.buf
        matrix.stride, matrix.k_stride = self.view.strides[0], self.view.strides[1]
        matrix.values = NULL
        return 0

    cdef int take_factor(self, object array, size_t n, lpnum_factor *factor) except -1:
        """Contiguous float64: n numbers, or one for all."""
        self.take(array, 1, False)
        if dtype_of(&self.view) != 5 or (self.view.shape[0] > 1 and self.view.strides[0] != 8):
            raise ValueError("factors must be contiguous float64")
        if self.view.shape[0] != 1 and <size_t>self.view.shape[0] != n:
            raise ValueError(f"{self.view.shape[0]} factors for {n} rows or columns")
        factor.data = <const double *>self.view.buf
        factor.stride = 1 if self.view.shape[0] > 1 else 0
        return 0


cdef void *workspace_of(Buffer workspace, object array, size_t needed) except NULL:
    workspace.take(array, 1, True)
    if <size_t>workspace.view.len < needed or workspace.view.strides[0] != workspace.view.itemsize:
        raise ValueError(f"a contiguous workspace of {needed} bytes is needed, not {workspace.view.len}")
    return workspace.view.buf


cdef int hold_factor(list held, object array, size_t n, lpnum_factor *factor) except -1:
    cdef Buffer buffer = Buffer()
    buffer.take_factor(array, n, factor)
    held.append(buffer)
    return 0


def matmul_tile(object a, object b, object out, object workspace, object step_a=None, object step_b=None,
                tuple terms=(), object a_values=None, object b_values=None):
    """One tile of ``a @ b.T`` on codes, scaled; see ``lpnum_product`` in gemm.h.

    `a` (m, k) and `b` (n, k) are 8-bit codes with any strides, m and n at most ``TILE``; `out` (m, n) is float32 or
    float64, or int32 or int64 for the bare sums of integer codes. `step_a`, `step_b`: two floats, or float64 of shape (1,) or (m,), (n,);
    `terms`: up to two pairs of such factors. `a_values`, `b_values`: float32 values of the 256 codes, both or none.
    """
    cdef Buffer first = Buffer(), second = Buffer(), target = Buffer(), space = Buffer()
    cdef list factors = []
    cdef Contiguous table_a, table_b
    cdef lpnum_product p
    cdef double scalar_a, scalar_b
    cdef void *memory
    cdef int t
    first.take_codes(a, &p.a)
    second.take_codes(b, &p.b)
    target.take(out, 2, True)
    p.m, p.k, p.n = first.view.shape[0], first.view.shape[1], second.view.shape[0]
    if second.view.shape[1] != first.view.shape[1] or target.view.shape[0] != first.view.shape[0] \
            or target.view.shape[1] != second.view.shape[0]:
        raise ValueError("matmul_tile: the shapes do not fit")
    if p.a.dtype > 1 or p.b.dtype > 1:
        raise TypeError("matmul_tile takes codes of 8 bits")
    if p.m > LPNUM_TILE or p.n > LPNUM_TILE:
        raise ValueError(f"matmul_tile: a tile has at most {LPNUM_TILE} rows and columns")
    cdef bytes kind = target.view.format.lstrip(b"@=") if target.view.format != NULL else b"B"
    if kind in (b"f", b"d"):
        p.out_dtype = 2 if kind == b"f" else 3
    elif kind in (b"i", b"l", b"q") and target.view.itemsize in (4, 8):
        p.out_dtype = 0 if target.view.itemsize == 4 else 1
    else:
        raise TypeError(f"matmul_tile: out must be int32, int64, float32 or float64, not {kind.decode()!r}")
    p.out = <char *>target.view.buf
    p.out_row, p.out_column = target.view.strides[0], target.view.strides[1]
    if (a_values is None) != (b_values is None):
        raise ValueError("matmul_tile: values of the codes for both matrices, or for none")
    if a_values is not None:
        table_a, table_b = Contiguous(), Contiguous()
        table_a.take(a_values, False)
        table_b.take(b_values, False)
        if table_a.dtype != 4 or table_b.dtype != 4 or table_a.size != 256 or table_b.size != 256 or p.out_dtype < 2:
            raise ValueError("matmul_tile: float products take 256 float32 values and a float result")
        p.a.values, p.b.values = <const float *>table_a.view.buf, <const float *>table_b.view.buf
    if terms is None:
        raise TypeError("matmul_tile: terms must be a tuple")
    p.n_terms = len(terms)
    if p.n_terms > 2 or (p.out_dtype > 1 and (step_a is None or step_b is None)):
        raise ValueError("matmul_tile: at most two terms, and steps for a float result")
    if p.out_dtype > 1:
        if isinstance(step_a, float) and isinstance(step_b, float):
            scalar_a, scalar_b = step_a, step_b
            p.step_a.data, p.step_a.stride = &scalar_a, 0
            p.step_b.data, p.step_b.stride = &scalar_b, 0
        else:
            hold_factor(factors, step_a, p.m, &p.step_a)
            hold_factor(factors, step_b, p.n, &p.step_b)
        for t in range(p.n_terms):
            if not isinstance(terms[t], tuple) or len(terms[t]) != 2:
                raise ValueError("matmul_tile: a term is a pair of factors")
            hold_factor(factors, terms[t][0], p.m, &p.row_term[t])
            hold_factor(factors, terms[t][1], p.n, &p.column_term[t])
    memory = workspace_of(space, workspace, kernels.gemm_workspace(&p))
    cdef const lpnum_kernels *table = kernels
    if p.m == 0 or p.n == 0:
        return
    with nogil:
        table.gemm(&p, memory)


def matmul_workspace(size_t m, size_t n, size_t k, bint floats):
    """Bytes of workspace for a tile."""
    cdef lpnum_product p
    cdef float none = 0
    p.m, p.n, p.k = m, n, k
    p.a.values = &none if floats else NULL
    return kernels.gemm_workspace(&p)


def matvec(object a, object v, object out, object workspace):
    """``out = a @ v``, exact and rounded once, for codes of 8 or 16 bits and finite float64.

    `a` (m, k) with one axis contiguous, k at most ``MATVEC_LENGTH``; `v` (k,) and `out` (m,) contiguous float64.
    Returns 0, or 1 if `v` holds NaN or infinity, 2 if its exponents are too far apart; then `out` is not written.
    """
    cdef Buffer codes = Buffer(), space = Buffer()
    cdef Contiguous vector = Contiguous(), result = Contiguous()
    cdef lpnum_matvec p
    cdef void *memory
    cdef int status
    codes.take_codes(a, &p.a)
    vector.take(v, False)
    result.take(out, True)
    p.m, p.k = codes.view.shape[0], codes.view.shape[1]
    if p.k <= 1:  # strides of no meaning
        p.a.k_stride = codes.view.itemsize
    if p.m <= 1:
        p.a.stride = codes.view.itemsize
    if vector.dtype != 5 or result.dtype != 5 or vector.size != p.k or result.size != p.m:
        raise ValueError("matvec takes float64 of the matrix's lengths")
    if p.m > 1 and p.k > 1 and p.a.stride != codes.view.itemsize and p.a.k_stride != codes.view.itemsize:
        raise ValueError("matvec: one axis of the matrix must be contiguous")
    if p.k > MATVEC_LENGTH:
        raise ValueError(f"matvec: at most {MATVEC_LENGTH} elements")
    p.v, p.out = <const double *>vector.view.buf, <double *>result.view.buf
    memory = workspace_of(space, workspace, kernels.matvec_workspace(&p))
    if p.m == 0:
        return 0
    with nogil:
        status = kernels.matvec(&p, memory)
    return status


def matvec_workspace(size_t m, size_t k):
    """Bytes of workspace for `matvec`."""
    cdef lpnum_matvec p
    p.m, p.k = m, k
    return kernels.matvec_workspace(&p)


def dot_rows(object a, object b, object out):
    """``out[i] = sum_k a[i, k] * b[i, k]``, exact, for codes (m, k) contiguous along k and int64 `out`."""
    cdef Buffer first = Buffer(), second = Buffer(), target = Buffer()
    cdef lpnum_matrix p, q
    cdef size_t i, m, k
    first.take_codes(a, &p)
    second.take_codes(b, &q)
    target.take(out, 1, True)
    m, k = first.view.shape[0], first.view.shape[1]
    if second.view.shape[0] != first.view.shape[0] or second.view.shape[1] != first.view.shape[1] \
            or target.view.shape[0] != first.view.shape[0] or target.view.itemsize != 8:
        raise ValueError("dot_rows: the shapes do not fit")
    if k > 1 and (p.k_stride != first.view.itemsize or q.k_stride != second.view.itemsize):
        raise ValueError("dot_rows: rows must be contiguous")
    with nogil:
        for i in range(m):
            (<int64_t *>(<char *>target.view.buf + <ptrdiff_t>i * target.view.strides[0]))[0] = kernels.dot_codes(
                p.data + <ptrdiff_t>i * p.stride, p.dtype, q.data + <ptrdiff_t>i * q.stride, q.dtype, k)
