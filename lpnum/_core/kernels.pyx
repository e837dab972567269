# cython: boundscheck=False, wraparound=False, cdivision=True
"""Thin wrappers of the C kernels: buffers and broadcasting in, status and event counts out. No arithmetic here.

This module holds the kernels, the SIMD level, formats and buffers (kernels.pxd), and wraps what works element by
element; ``blocks`` and ``products`` wrap the rest.
"""

import os

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport strchr

from lpnum._core.kernels_api cimport (lpnum_detect_avx_vnni, lpnum_detect_level, lpnum_elementwise, lpnum_events, lpnum_format, lpnum_kernels,
                                      lpnum_kernels_of_level, lpnum_operand, lpnum_policy)


cdef extern from *:
    """
    void lpnum_init_baseline(void);
    """
    void lpnum_init_baseline()


SIMD_LEVELS = ("baseline", "avx2", "avx512")

cdef int detected = lpnum_detect_level()
cdef int level = detected
cdef bint vnni = lpnum_detect_avx_vnni()
kernels = lpnum_kernels_of_level(level, vnni)
lpnum_init_baseline()


def simd_levels():
    """Names of the SIMD levels this processor can run, lowest first."""
    return SIMD_LEVELS[: detected + 1]


def simd_level():
    """The level in use: 0 baseline, 1 AVX2, 2 AVX-512."""
    return level


def avx_vnni():
    """Whether products of bytes use AVX-VNNI: at the avx2 level, where the processor has it."""
    return level == 1 and vnni


def set_simd_level(name, bint avx_vnni=True):
    """Use the kernels of one level from now on (for tests and measurements); ``LPNUM_SIMD`` sets it at import.

    With ``avx_vnni=False`` the avx2 level does without AVX-VNNI where the processor has it.
    """
    global level, kernels, vnni
    if name not in SIMD_LEVELS:
        raise ValueError(f"LPNUM_SIMD: unknown SIMD level {name!r}; this processor runs {', '.join(simd_levels())}")
    if SIMD_LEVELS.index(name) > detected:
        raise ValueError(f"LPNUM_SIMD: this processor cannot run {name!r}; it runs {', '.join(simd_levels())}")
    level = SIMD_LEVELS.index(name)
    vnni = avx_vnni and lpnum_detect_avx_vnni()
    kernels = lpnum_kernels_of_level(level, vnni)


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


cdef void clear_events(lpnum_events *events) noexcept nogil:
    events.total = events.overflow = events.underflow = events.inexact = events.invalid = 0
    events.first_overflow = events.first_invalid = -1


cdef tuple events_tuple(const lpnum_events *events):
    return (events.total, events.overflow, events.underflow, events.inexact, events.invalid,
            events.first_overflow, events.first_invalid)


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
        clear_events(&events)
        with nogil:
            status = lpnum_elementwise(kernels, op, n_in, inputs, &operands[2].c, ndim, shape, &policy, &events)
    finally:
        for i in range(3):
            for k in range(operands[i].held - 1, -1, -1):
                PyBuffer_Release(&operands[i].views[k])
    if status == 0 and not count:
        return 0, (events.total, 0, 0, 0, 0, -1, -1)
    return status, events_tuple(&events)


cdef class Contiguous:
    """A C-contiguous buffer held for the duration of a call."""

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


# What follows takes addresses, of memory that the caller knows to be whole and aligned: tensors of other libraries come
# without the cost of a buffer, which small ones feel. bfloat16 stands for float32 where it is said so.

def round_floats(uintptr_t source, uintptr_t values, uintptr_t codes, bint is_bfloat16, size_t n, Format format not None,
                 float threshold, int rounding=0, int random_bits=16, uint64_t seed=0, uint64_t stream=0, int nan_code=0):
    """Round n values onto a format's grid, to `values` (which may be `source`) and as codes; 0: not stored there.

    Returns how many magnitudes are at least `threshold` or NaN, and how many are NaN; None, with nothing done, where
    the format or the rounding is not served. See round_floats.h.
    """
    cdef lpnum_policy policy
    cdef int64_t beyond[2]
    set_policy(&policy, rounding, 0, random_bits, seed, stream, False)
    if not kernels.round_floats_applies(&format.c, &policy):
        return None
    policy.nan_code = nan_code
    with nogil:
        kernels.round_floats(<const void *>source, <void *>values, <void *>codes, is_bfloat16, n, &format.c, threshold,
                             &policy, beyond)
    return beyond[0], beyond[1]


def decode_floats(uintptr_t codes, uintptr_t values, bint is_bfloat16, size_t n, Format format not None):
    """Values of n codes; False, with nothing done, where the format is not served."""
    if not kernels.decode_floats_applies(&format.c):
        return False
    with nogil:
        kernels.decode_floats(<const void *>codes, <void *>values, is_bfloat16, n, &format.c)
    return True


def largest_magnitude(uintptr_t values, bint is_bfloat16, size_t n):
    """Largest magnitude of n values; NaN if one is."""
    cdef double largest
    with nogil:
        largest = kernels.largest_magnitude(<const void *>values, is_bfloat16, n)
    return largest
