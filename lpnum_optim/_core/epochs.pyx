# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Inner epochs of the optimizers for linear models, and the pass over all rows that evaluates them.

Validation and errors are in arguments.pxi, arithmetic is in the C headers beside this file; lpnum_optim/_reference.py
has its exact meaning.
"""

import math

import numpy as np

from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous, PyBuffer_Release,
                             PyObject_GetBuffer)
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t

from lpnum_optim._core.epochs_api cimport *
from lpnum._core import kernels as _lpnum_kernels
from lpnum_optim.data import DataMatrix
from lpnum_optim.grid_control import GridControl


cdef extern from "simd.h" nogil:
    int lpnum_detect_level()

cdef extern from "huge_pages.h" nogil:
    int advise_huge_pages_of(void *memory, size_t size)


cdef enum:  # element types that never are data, after X_INT8 ... X_UINT4
    KIND_INT32 = 16
    KIND_UINT32 = 17
    KIND_INT64 = 18

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

include "arguments.pxi"
include "evaluation.pxi"


def advise_huge_pages(array):
    """Ask the system to back an array by huge pages; whether it took the advice (see lpnum_optim.data)."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    cdef bint taken = bool(PyBuffer_IsContiguous(&view, b"A")) and advise_huge_pages_of(view.buf, <size_t>view.len) == 1
    PyBuffer_Release(&view)
    return taken


def lowbit_epoch(x, targets, margins, anchors, direction, z, z_step, *, step_size, l2, loss, samples, code_min, code_max,
                 seed, stream, control=None, weights=None, shrink=None, loss_parameter=0.0, batch=1, l1=0.0, center=None,
                 intercept=None, intercept_direction=None, intercept_step=0.0, centered=False):
    """One epoch of a linear model on integer codes, in place; on 8-bit and 4-bit data the O(d) work is integer only.

    With z = z_step * codes and i = samples[t], step t is, for every output c (one, or one per class) ::

        g_c = weights[i] * (l'_c(margins[i] + x_i.z + b, targets[i]) - anchors[i, c])
        z_c = Q(z_c - step_size * (g_c * x_i + direction_c + l2 * z_c))
        b_c = b_c - intercept_step * (g_c + intercept_direction_c)

    where Q rounds stochastically onto the grid and clamps. ``lpnum_optim._reference.lowbit_epoch`` says exactly what
    is rounded when; the codes are the same at every SIMD level.

    Parameters
    ----------
    x : DataMatrix
        n samples of d features; its scales per column are not applied (see :class:`lpnum_optim.data.DataMatrix`).
    targets : (n,) float64 array
        Labels: -1 or 1 for the logistic loss, 0 .. C - 1 for softmax.
    margins, anchors : (n, C) float64 arrays, or (n,) for C = 1
        Margins at the center, slopes to subtract (0 for SGD).
    direction : (C, d) float64 array, or (d,)
        Part of the gradient estimate that is the same in all steps.
    z : (C, d) int8 or int16 array, or (d,) for C = 1
        Codes of the iterate, updated in place.
    z_step : float
    step_size, l2 : float
    loss : int
        0 squared, (m - y)**2 / 2; 1 logistic, log(1 + exp(-y m)); 2 softmax, log(sum(exp(m))) - m[y], with C > 1;
        3 huber, m - y squared / 2 up to `loss_parameter`, linear beyond.
    samples : (T,) int64 or uint32 array
        Rows to visit.
    code_min, code_max : int
        Range of the codes, code_min <= 0 < code_max.
    seed, stream : int
        Key of the random bits, 0 .. 2**64 - 1 each; take a new stream for every epoch.
    control : GridControl, optional
        Lets the epoch change z_step between runs of steps, and takes the mean of z over the last of them. Its record is
        filled in, so every epoch needs a new one; afterwards z = z_step * control.change * codes. The default leaves
        the grid alone.
    weights : (n,) float64 array, optional
        Factor of the difference of slopes.
    shrink : (d,) float64 array, optional
        The L2 penalty of every coordinate, in place of `l2`.
    loss_parameter : float
        Only for loss 3.
    batch : int
        Samples of a step, whose g_c x_i and g_c are averaged; the last step has what is left.
    l1 : float
        L1 penalty of z + `center`, times the scale of the column: a proximal step before the rounding.
    center : (C, d) float64 array, optional
        Default 0.
    intercept : (C,) float64 array, optional
        b, updated in place; relative to the one that the margins contain.
    intercept_direction : (C,) float64 array
    intercept_step : float
    centered : bool
        The anchors are the slopes at the margins, as in SVRG with an iterate that is relative to the snapshot: the
        difference of slopes is then taken without cancellation (losses.h), and faster.

    Returns
    -------
    saturated : float
        Fraction of codes at code_min or code_max, averaged over the observations (every K <= 64 steps and the end of a
        run) of every run of steps, and over the runs.
    range_used : float
        Largest abs(code) / code_max observed (in the last run of steps), at most 1.
    beta_saturated : float
        Fraction of the quantized factors of x_i that had to be clipped: the step was too long for z_step.

    Raises
    ------
    TypeError, ValueError, IndexError
        An array of another element type, shape or layout; a number out of range; a sample that is not a row.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> from lpnum_optim.data import DataMatrix
    >>> x, y, z = DataMatrix(np.array([[100], [50]], np.int8), 0.01), np.array([1.0, 0.5]), np.zeros(1, np.int8)
    >>> report = epochs.lowbit_epoch(x, y, np.zeros(2), np.zeros(2), np.zeros(1), z, 0.01, step_size=0.5, l2=0.0,
    ...                              loss=0, samples=np.arange(200) % 2, code_min=-128, code_max=127, seed=1, stream=0)
    >>> bool(abs(0.01 * z[0] - 1.0) < 0.1)
    True
    """
    cdef _Problem problem = _Problem("lowbit_epoch", x, targets, margins, anchors, direction, z, {
        "step_size": step_size, "l2": l2, "loss": loss, "samples": samples, "weights": weights, "shrink": shrink,
        "loss_parameter": loss_parameter, "batch": batch, "l1": l1, "center": center, "intercept": intercept,
        "intercept_direction": intercept_direction, "intercept_step": intercept_step, "centered": centered,
    })
    cdef lowbit_control rule = _control(GridControl() if control is None else control)
    total = np.zeros(np.shape(z)) if rule.mean_runs else None
    cdef lowbit_iterate iterate = _iterate(z, z_step, code_min, code_max, seed, stream, total,
                                           &problem.c, problem.arrays)
    cdef lowbit_report report
    cdef int status
    cdef const epoch_kernels *kernels = KERNELS[active_level]
    with nogil:
        status = kernels.lowbit_epoch(&problem.c, &iterate, &rule, &report)
    _raise(status, "lowbit_epoch")
    if control is not None:
        control.change, control.seen, control.crowding = report.change, report.seen, report.crowding
        control.runs, control.held = report.runs, report.held
        control.total, control.mean_terms = total, report.mean_terms
    return report.saturated, report.range_used, report.beta_saturated


def float_epoch(x, targets, margins, anchors, direction, w, *, step_size, l2, loss, samples, weights=None, shrink=None,
                loss_parameter=0.0, batch=1, l1=0.0, center=None, intercept=None, intercept_direction=None,
                intercept_step=0.0, centered=False):
    """One epoch of a linear model on a float iterate, in place: SGD and SVRG in full precision.

    The step of :func:`lowbit_epoch` with z = w and without rounding; all O(d) work in the precision of `w`, the slopes
    in float64. Same bits at every SIMD level (order of the sums: float_epoch.h).

    Parameters
    ----------
    w : (C, d) float32 or float64 array, or (d,) for C = 1
        The iterate, updated in place. Others: as in :func:`lowbit_epoch`.

    Raises
    ------
    TypeError, ValueError, IndexError
        As :func:`lowbit_epoch`.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> from lpnum_optim.data import DataMatrix
    >>> x, y, w = DataMatrix(np.array([[1.0], [0.5]])), np.array([1.0, 0.5]), np.zeros(1)
    >>> epochs.float_epoch(x, y, np.zeros(2), np.zeros(2), np.zeros(1), w, step_size=0.5, l2=0.0, loss=0,
    ...                    samples=np.arange(100) % 2)
    >>> float(w.round(9)[0])
    1.0
    """
    cdef _Problem problem = _Problem("float_epoch", x, targets, margins, anchors, direction, w, {
        "step_size": step_size, "l2": l2, "loss": loss, "samples": samples, "weights": weights, "shrink": shrink,
        "loss_parameter": loss_parameter, "batch": batch, "l1": l1, "center": center, "intercept": intercept,
        "intercept_direction": intercept_direction, "intercept_step": intercept_step, "centered": centered,
    })
    cdef _Array iterate = _table(w, "float_epoch: w", problem.c.outputs, problem.c.x.d, "float32 float64", True)
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
    cdef _Matrix checked = _Matrix(where, DataMatrix(x, x_step))
    cdef data_matrix matrix = checked.c
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
