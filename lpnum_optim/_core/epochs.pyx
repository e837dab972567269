# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Inner epochs of the optimizers for linear models, and the two products of the full gradient.

Validation and errors are here, arithmetic is in the C headers beside this file; lpnum_optim/_reference.py has its exact
meaning.
"""

import math

import numpy as np

from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous, PyBuffer_Release,
                             PyObject_GetBuffer)
from libc.stdint cimport int8_t, int16_t, int64_t, uint32_t

from lpnum_optim._core.epochs_api cimport (EPOCH_NO_MEMORY, LOSS_LOGISTIC, LOSS_SQUARED, X_FLOAT32, X_FLOAT64, X_INT8,
                                           X_UINT8, data_matrix, epoch_kernels, epoch_kernels_avx2,
                                           epoch_kernels_avx512, epoch_kernels_baseline, epoch_problem, lowbit_control,
                                           lowbit_iterate, lowbit_report)
from lpnum._core import kernels as _lpnum_kernels
from lpnum_optim.grid_control import GridControl


cdef extern from "simd.h" nogil:
    int lpnum_detect_level()


cdef enum:  # element types that never are data, after X_INT8 ... X_FLOAT64
    KIND_INT16 = 4
    KIND_UINT32 = 5
    KIND_INT64 = 6

LEVEL_NAMES = ("baseline", "avx2", "avx512")
cdef const epoch_kernels *KERNELS[3]
KERNELS[0] = &epoch_kernels_baseline
KERNELS[1] = &epoch_kernels_avx2
KERNELS[2] = &epoch_kernels_avx512
for _level in range(3):
    KERNELS[_level].init()

cdef int active_level = 0


def simd_level():
    """SIMD level in use: 0 baseline, 1 AVX2, 2 AVX-512."""
    return active_level


def set_simd_level(level):
    """Use the kernels of this SIMD level from now on; the results have the same bits at every level."""
    global active_level
    cdef int best = lpnum_detect_level()
    if not isinstance(level, int) or not 0 <= level <= best:
        raise ValueError(
            f"set_simd_level: level {level!r}; this machine runs 0..{best} ({', '.join(LEVEL_NAMES[:best + 1])})"
        )
    active_level = level


set_simd_level(_lpnum_kernels.simd_level())  # LPNUM_SIMD or the best this processor has


cdef class _Array:
    """A C-contiguous buffer with a checked element type, held while the kernel runs."""

    cdef Py_buffer view
    cdef bint held
    cdef char kind

    def __cinit__(self, value, str where, str allowed, int ndim, bint writable=False):
        self.held = False
        try:
            PyObject_GetBuffer(value, &self.view, PyBUF_FORMAT | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        except (TypeError, BufferError, ValueError) as error:
            kind = "writable array" if writable else "array"
            raise TypeError(f"{where}: got {type(value).__name__}; pass a NumPy {kind} ({error})") from None
        self.held = True
        code = (<bytes>self.view.format).decode() if self.view.format != NULL else "B"
        name = _TYPE_NAMES.get((code.lstrip("@=<") if code[:1] in "@=<" else code, self.view.itemsize))
        if name not in allowed.split():
            raise TypeError(
                f"{where}: element type {name or getattr(value, 'dtype', code)}; allowed: {', '.join(allowed.split())}"
            )
        if self.view.ndim != ndim:
            raise ValueError(f"{where}: {self.view.ndim} dimensions; expected {ndim}")
        if not PyBuffer_IsContiguous(&self.view, b"C"):
            raise ValueError(f"{where}: not C-contiguous; pass np.ascontiguousarray({where.rpartition(' ')[2]})")
        self.kind = <char>_KINDS[name]

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef size_t length(self, int axis):
        return <size_t>self.view.shape[axis]


_TYPE_NAMES = {
    ("b", 1): "int8", ("B", 1): "uint8", ("h", 2): "int16", ("I", 4): "uint32", ("L", 4): "uint32",
    ("l", 8): "int64", ("q", 8): "int64", ("f", 4): "float32", ("d", 8): "float64",
}
_KINDS = {
    "int8": X_INT8, "uint8": X_UINT8, "float32": X_FLOAT32, "float64": X_FLOAT64, "int16": KIND_INT16,
    "uint32": KIND_UINT32, "int64": KIND_INT64,
}

cdef _Array _vector(value, str where, size_t length, str allowed="float64", bint writable=False):
    cdef _Array array = _Array(value, where, allowed, 1, writable)
    if array.length(0) != length:
        raise ValueError(f"{where}: length {array.length(0)}; expected {length}")
    return array


cdef _check_finite(_Array array, str where):
    cdef const double *v = <const double *>array.view.buf
    cdef size_t j
    for j in range(array.length(0)):
        if v[j] - v[j] != 0.0:
            raise ValueError(f"{where}: element {j} is {v[j]}; all elements must be finite")


cdef double _positive(value, str where) except? -1.0:
    cdef double number = float(value)
    if not (0.0 < number < math.inf):
        raise ValueError(f"{where} = {value!r}; a positive finite number is expected")
    return number


cdef data_matrix _matrix(_Array x, x_step, str where) except *:
    cdef data_matrix matrix
    matrix.data = x.view.buf
    matrix.n, matrix.d = x.length(0), x.length(1)
    matrix.kind = x.kind
    matrix.step = _positive(x_step, f"{where}: x_step")
    if matrix.n == 0 or matrix.d == 0:
        raise ValueError(f"{where}: x is empty, shape ({matrix.n}, {matrix.d}); at least one row and column are needed")
    return matrix


cdef class _Problem:
    """The arguments that both epochs share, checked."""

    cdef epoch_problem c
    cdef list arrays

    def __cinit__(self, str where, str x_types, x, x_step, targets, margins, anchors, direction, step_size, l2, loss,
                  samples):
        cdef _Array x_array = _Array(x, f"{where}: x", x_types, 2)
        self.c.x = _matrix(x_array, x_step, where)
        cdef _Array targets_ = _vector(targets, f"{where}: targets", self.c.x.n)
        cdef _Array margins_ = _vector(margins, f"{where}: margins", self.c.x.n)
        cdef _Array anchors_ = _vector(anchors, f"{where}: anchors", self.c.x.n)
        cdef _Array direction_ = _vector(direction, f"{where}: direction", self.c.x.d)
        cdef _Array samples_ = _Array(samples, f"{where}: samples", "int64 uint32", 1)
        _check_finite(direction_, f"{where}: direction")
        self.arrays = [x_array, targets_, margins_, anchors_, direction_, samples_]
        self.c.targets = <const double *>targets_.view.buf
        self.c.margins = <const double *>margins_.view.buf
        self.c.anchors = <const double *>anchors_.view.buf
        self.c.direction = <const double *>direction_.view.buf
        self.c.samples.index = samples_.view.buf
        self.c.samples.count = samples_.length(0)
        self.c.samples.wide = samples_.kind == KIND_INT64
        self.c.step_size = _positive(step_size, f"{where}: step_size")
        self.c.l2 = float(l2)
        if not (0.0 <= self.c.l2 < math.inf):
            raise ValueError(f"{where}: l2 = {l2!r}; a finite number >= 0 is expected")
        if loss not in (LOSS_SQUARED, LOSS_LOGISTIC):
            raise ValueError(f"{where}: loss {loss!r}; allowed: 0 (squared), 1 (logistic)")
        self.c.loss = loss
        self.check_samples(where)

    cdef check_samples(self, str where):
        cdef size_t t, i, n = self.c.x.n
        for t in range(self.c.samples.count):
            if self.c.samples.wide:
                i = <size_t>(<const int64_t *>self.c.samples.index)[t]  # a negative index becomes a huge one
            else:
                i = (<const uint32_t *>self.c.samples.index)[t]
            if i >= n:
                raise IndexError(f"{where}: samples[{t}] = {<int64_t>i}; allowed 0..{n - 1} (x has {n} rows)")


cdef _raise(int status, str where):
    if status == EPOCH_NO_MEMORY:
        raise MemoryError(f"{where}: no memory for the scratch arrays")
    if status:
        raise RuntimeError(f"{where}: kernel status {status}")


cdef lowbit_control _control(given) except *:
    cdef lowbit_control c
    if not isinstance(given, GridControl):
        raise TypeError(f"lowbit_epoch: control is a {type(given).__name__}; pass a GridControl or None")
    if given.runs:
        raise ValueError(f"lowbit_epoch: control has recorded {given.runs} runs; every epoch needs a new GridControl")
    c.segments, c.learning, c.stuck = given.segments, given.learning, given.stuck
    c.narrow, c.wide, c.crowded, c.widen, c.limit = given.narrow, given.wide, given.crowded, given.widen, given.limit
    return c


def lowbit_epoch(x, x_step, targets, margins, anchors, direction, z, z_step, *, step_size, l2, loss, samples, code_min,
                 code_max, seed, stream, control=None):
    """One epoch of a linear model on integer codes, in place; the O(d) work is integer only.

    With z = z_step * codes and i = samples[t], step t is ::

        beta = step_size * (l'(margins[i] + x_i.z, targets[i]) - anchors[i])
        z    = Q(z - beta * x_i - step_size * (direction + l2 * z))

    where Q rounds stochastically onto the grid and clamps. ``lpnum_optim._reference.lowbit_epoch`` says exactly what
    is rounded when; the codes are the same at every SIMD level.

    Parameters
    ----------
    x : (n, d) int8 or uint8 array, C-contiguous
        Data codes; a value is ``x_step * code``.
    x_step : float
    targets, margins, anchors : (n,) float64 arrays
        Labels (-1 or 1 for the logistic loss), margins at the center, slopes to subtract (0 for SGD).
    direction : (d,) float64 array
        Part of the gradient estimate that is the same in all steps.
    z : (d,) int8 or int16 array
        Codes of the iterate, updated in place.
    z_step : float
    step_size, l2 : float
    loss : int
        0 squared, (m - y)**2 / 2; 1 logistic, log(1 + exp(-y m)).
    samples : (T,) int64 or uint32 array
        Rows to visit.
    code_min, code_max : int
        Range of the codes, code_min <= 0 < code_max.
    seed, stream : int
        Key of the random bits, 0 .. 2**64 - 1 each; take a new stream for every epoch.
    control : GridControl, optional
        Lets the epoch change z_step between runs of steps. Its record is filled in, so every epoch needs a new one;
        afterwards z = z_step * control.change * codes. The default leaves the grid alone.

    Returns
    -------
    saturated : float
        Fraction of codes at code_min or code_max, averaged over the observations (every K <= 64 steps and the end of a
        run) of every run of steps, and over the runs.
    range_used : float
        Largest abs(code) / code_max observed (in the last run of steps), at most 1.
    beta_saturated : float
        Fraction of steps whose quantized beta had to be clipped: the step was too long for z_step.

    Raises
    ------
    TypeError, ValueError, IndexError
        An array of another element type, shape or layout; a number out of range; a sample that is not a row.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> x, y, z = np.array([[100], [50]], np.int8), np.array([1.0, 0.5]), np.zeros(1, np.int8)
    >>> report = epochs.lowbit_epoch(x, 0.01, y, np.zeros(2), np.zeros(2), np.zeros(1), z, 0.01, step_size=0.5, l2=0.0,
    ...                              loss=0, samples=np.arange(200) % 2, code_min=-128, code_max=127, seed=1, stream=0)
    >>> bool(abs(0.01 * z[0] - 1.0) < 0.1)
    True
    """
    cdef _Problem problem = _Problem("lowbit_epoch", "int8 uint8", x, x_step, targets, margins, anchors, direction,
                                     step_size, l2, loss, samples)
    cdef _Array codes = _vector(z, "lowbit_epoch: z", problem.c.x.d, "int8 int16", True)
    cdef lowbit_iterate iterate
    cdef lowbit_report report
    cdef lowbit_control rule = _control(GridControl() if control is None else control)
    cdef size_t j
    cdef int code, status
    cdef const epoch_kernels *kernels = KERNELS[active_level]
    iterate.codes = codes.view.buf
    iterate.wide = codes.kind == KIND_INT16
    iterate.step = _positive(z_step, "lowbit_epoch: z_step")
    lowest, highest = (-32768, 32767) if iterate.wide else (-128, 127)
    if not (lowest <= code_min <= 0 < code_max <= highest):
        raise ValueError(
            f"lowbit_epoch: codes {code_min}..{code_max}; allowed are {lowest} <= code_min <= 0 < code_max <= {highest}"
            f" for {'int16' if iterate.wide else 'int8'} z"
        )
    iterate.code_min, iterate.code_max = code_min, code_max
    for j in range(problem.c.x.d):
        code = (<const int16_t *>iterate.codes)[j] if iterate.wide else (<const int8_t *>iterate.codes)[j]
        if not (iterate.code_min <= code <= iterate.code_max):
            raise ValueError(f"lowbit_epoch: z[{j}] = {code}; allowed {code_min}..{code_max}")
    iterate.seed, iterate.stream = seed, stream
    with nogil:
        status = kernels.lowbit_epoch(&problem.c, &iterate, &rule, &report)
    _raise(status, "lowbit_epoch")
    if control is not None:
        control.change, control.seen, control.crowding = report.change, report.seen, report.crowding
        control.runs, control.held = report.runs, report.held
    return report.saturated, report.range_used, report.beta_saturated


def float_epoch(x, x_step, targets, margins, anchors, direction, w, *, step_size, l2, loss, samples):
    """One epoch of a linear model on a float iterate, in place: SGD and SVRG in full precision.

    The step of :func:`lowbit_epoch` with z = w and without rounding; all O(d) work in the precision of `w`, the slope
    and beta in float64. Same bits at every SIMD level (order of the sums: float_epoch.h).

    Parameters
    ----------
    x : (n, d) int8, uint8, float32 or float64 array, C-contiguous
    w : (d,) float32 or float64 array
        The iterate, updated in place. Others: as in :func:`lowbit_epoch`.

    Raises
    ------
    TypeError, ValueError, IndexError
        As :func:`lowbit_epoch`.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> x, y, w = np.array([[1.0], [0.5]]), np.array([1.0, 0.5]), np.zeros(1)
    >>> epochs.float_epoch(x, 1.0, y, np.zeros(2), np.zeros(2), np.zeros(1), w, step_size=0.5, l2=0.0, loss=0,
    ...                    samples=np.arange(100) % 2)
    >>> float(w.round(9)[0])
    1.0
    """
    cdef _Problem problem = _Problem("float_epoch", "int8 uint8 float32 float64", x, x_step, targets, margins, anchors,
                                     direction, step_size, l2, loss, samples)
    cdef _Array iterate = _vector(w, "float_epoch: w", problem.c.x.d, "float32 float64", True)
    cdef int status, w_is_double = iterate.kind == X_FLOAT64
    cdef const epoch_kernels *kernels = KERNELS[active_level]
    with nogil:
        status = kernels.float_epoch(&problem.c, iterate.view.buf, w_is_double)
    _raise(status, "float_epoch")


def row_products(x, x_step, w):
    """x_step * (x @ w) in float64: the margins of all samples.

    Parameters
    ----------
    x : (n, d) int8, uint8, float32 or float64 array, C-contiguous
    x_step : float
    w : (d,) float64 array

    Returns
    -------
    (n,) float64 array
        The same bits at every SIMD level; the order of the sums is in products.h and ``_reference.row_products``.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> epochs.row_products(np.array([[1, 2], [3, 4]], np.int8), 0.5, np.array([1.0, 10.0]))
    array([10.5, 21.5])
    """
    return _product(x, x_step, w, "row_products", True)


def weighted_row_sum(x, x_step, p):
    """x_step * (x.T @ p) in float64: a full gradient from the slopes of all samples.

    Parameters
    ----------
    x : (n, d) int8, uint8, float32 or float64 array, C-contiguous
    x_step : float
    p : (n,) float64 array

    Returns
    -------
    (d,) float64 array
        The same bits at every SIMD level; the order of the sums is in products.h and ``_reference.weighted_row_sum``.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> epochs.weighted_row_sum(np.array([[1, 2], [3, 4]], np.int8), 0.5, np.array([1.0, 10.0]))
    array([15.5, 21. ])
    """
    return _product(x, x_step, p, "weighted_row_sum", False)


cdef _product(x, x_step, vector, str where, bint by_row):
    cdef _Array x_array = _Array(x, f"{where}: x", "int8 uint8 float32 float64", 2)
    cdef data_matrix matrix = _matrix(x_array, x_step, where)
    cdef _Array given = _vector(vector, f"{where}: {'w' if by_row else 'p'}", matrix.d if by_row else matrix.n)
    result = np.empty(matrix.n if by_row else matrix.d)
    cdef _Array out = _Array(result, where, "float64", 1, True)
    cdef int status
    cdef const epoch_kernels *kernels = KERNELS[active_level]
    with nogil:
        if by_row:
            status = kernels.row_products(&matrix, <const double *>given.view.buf, <double *>out.view.buf)
        else:
            status = kernels.weighted_row_sum(&matrix, <const double *>given.view.buf, <double *>out.view.buf)
    _raise(status, where)
    return result
