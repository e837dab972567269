# cython: boundscheck=False, wraparound=False, cdivision=True
"""Thin wrappers of sums and products of codes; see gemm.h and matvec.h."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from lpnum._core.kernels cimport Contiguous, check_alignment, dtype_of, kernels
from lpnum._core.kernels_api cimport (LPNUM_BLOCKS, LPNUM_TILE, lpnum_factor, lpnum_kernels, lpnum_matrix, lpnum_matvec,
                                      lpnum_product, lpnum_scales)

TILE = LPNUM_TILE
MATVEC_LENGTH = 1 << 23


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

    cdef int take_scales(self, object array, size_t rows, size_t blocks, lpnum_scales *scales) except -1:
        """A float64 matrix with any strides."""
        self.take(array, 2, False)
        if dtype_of(&self.view) != 5 or <size_t>self.view.shape[0] != rows or <size_t>self.view.shape[1] != blocks:
            raise ValueError(f"scales of blocks must be float64 of shape ({rows}, {blocks})")
        scales.data = <const double *>self.view.buf
        scales.stride, scales.k_stride = self.view.strides[0], self.view.strides[1]
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
                tuple terms=(), object a_values=None, object b_values=None, size_t block=0, object a_scales=None,
                object b_scales=None):
    """One tile of ``a @ b.T`` on codes, scaled; see ``lpnum_product`` in gemm.h.

    `a` (m, k) and `b` (n, k) are 8-bit codes with any strides, m and n at most ``TILE``; `out` (m, n) is float32 or
    float64, or int32 or int64 for the bare sums of integer codes. `step_a`, `step_b`: two floats, or float64 of shape (1,) or (m,), (n,);
    `terms`: up to two pairs of such factors. `a_values`, `b_values`: float32 values of the 256 codes, both or none.

    `block`: so many codes along k share a scale; `a_scales` (m, k / block) and `b_scales` (n, k / block), float64 with any
    strides, or None for scales 1. Then codes are int8, or have values.
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
    cdef Buffer row_scales = Buffer(), column_scales = Buffer()
    p.block = block
    p.scales_a.data = p.scales_b.data = NULL
    if block:
        if not LPNUM_BLOCKS(block) or p.k % block or p.out_dtype < 2 or (a_values is None and (p.a.dtype or p.b.dtype)):
            raise ValueError(f"matmul_tile: blocks of {block} for {p.k} codes; needed are a power of two from 4 to 256 "
                             "that divides their number, int8 codes or their values, and a float result")
        if a_scales is not None:
            row_scales.take_scales(a_scales, p.m, p.k // block, &p.scales_a)
        if b_scales is not None:
            column_scales.take_scales(b_scales, p.n, p.k // block, &p.scales_b)
    memory = workspace_of(space, workspace, kernels.gemm_workspace(&p))
    cdef const lpnum_kernels *table = kernels
    if p.m == 0 or p.n == 0:
        return
    with nogil:
        table.gemm(&p, memory)


def matmul_workspace(size_t m, size_t n, size_t k, bint floats, size_t block=0):
    """Bytes of workspace for a tile."""
    cdef lpnum_product p
    cdef float none = 0
    if block and not LPNUM_BLOCKS(block):
        raise ValueError(f"matmul_workspace: blocks of {block}; needed are a power of two from 4 to 256")
    p.block = block
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
