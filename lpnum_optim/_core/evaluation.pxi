# The pass over the rows; see evaluation.h.

MAX_BLOCK = EVALUATION_BLOCK
cdef evaluation_kernel[3] EVALUATIONS
EVALUATIONS[0] = evaluate_rows_baseline
EVALUATIONS[1] = evaluate_rows_avx2
EVALUATIONS[2] = evaluate_rows_avx512


def checked(x):
    """A data matrix for calls of `evaluate_rows`, so that a sparse one is looked through only once."""
    return _Matrix("evaluate_rows", x)


def evaluate_rows(x, targets, v, intercept, *, loss, block, start, stop, loss_parameter=0.0, weights=None, margins=None,
                  slopes=None, known=False, rows=None):
    """One pass over rows start .. stop - 1 in float64: margins, losses, slopes and the gradient.

    With m_c = x_i.v_c + intercept_c, x_i = x.step * x.rows[i], and s_i = weights[i] ::

        losses = sum_i s_i l(m, targets[i]),   slope_sums_c = sum_i s_i l'_c,   rows_c = sum_i s_i l'_c x_i

    8-bit and 4-bit codes are multiplied as integers, exactly but for rounding v, and the weighted slopes of a block, to
    multiples of 2^-54 of a power of two that is at most twice their largest element. NaN and infinity propagate.

    Parameters
    ----------
    x : DataMatrix, or what `checked` made of it
        n samples of d features; its scales per column are not applied.
    targets : (n,) float64 array
        As for :func:`lowbit_epoch`.
    v : (C, d) float64 array
    intercept : (C,) float64 array
    loss : int
        As for :func:`lowbit_epoch`, with its `loss_parameter`; -1: the margins are all that is wanted.
    block : int
        Rows taken at a time, up to ``MAX_BLOCK``; sums over blocks are added one after the other.
    start, stop : int
    weights : (n,) float64 array, optional
    margins, slopes : (n, C) float64 arrays, optional
        Filled in from `start` to `stop`, the slopes without the weights.
    known : bool
        The margins are there already, all but the intercept, which is added to them.
    rows : (C, d) float64 array, optional
        Overwritten.

    Returns
    -------
    losses : float
    slope_sums : (C,) float64 array

    Raises
    ------
    TypeError, ValueError, IndexError
        An array of another element type, shape or layout; a number out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lpnum_optim._core import epochs
    >>> from lpnum_optim.data import DataMatrix
    >>> x, gradient = DataMatrix(np.array([[1, 2], [3, 4]], np.int8), 0.5), np.empty((1, 2))
    >>> losses, _ = epochs.evaluate_rows(x, np.array([10.0, 20.0]), np.array([[1.0, 10.0]]), np.zeros(1), loss=0,
    ...                                  block=64, start=0, stop=2, rows=gradient)
    >>> losses, gradient  # the margins are 10.5 and 21.5
    (1.25, array([[2.5, 3.5]]))
    """
    cdef str where = "evaluate_rows"
    cdef _Matrix matrix = x if isinstance(x, _Matrix) else _Matrix(where, x)
    cdef evaluation_problem p
    cdef evaluation_sums sums
    cdef size_t first = start, last = stop, outputs = len(v)
    cdef list held = []
    p.x, p.outputs = matrix.c, outputs
    if not 0 <= start <= stop <= <object>p.x.n:
        raise ValueError(f"{where}: rows {start} to {stop}; x has {p.x.n}")
    if not 1 <= block <= EVALUATION_BLOCK:
        raise ValueError(f"{where}: block = {block}; allowed 1..{EVALUATION_BLOCK}")
    if loss not in (EVALUATION_MARGINS, LOSS_SQUARED, LOSS_LOGISTIC, LOSS_SOFTMAX, LOSS_HUBER):
        raise ValueError(f"{where}: loss {loss!r}; allowed: -1 (margins alone), {_LOSSES}")
    if outputs == 0 or (outputs > 1 and loss not in (LOSS_SOFTMAX, EVALUATION_MARGINS)):
        raise ValueError(f"{where}: loss {loss} with {outputs} outputs; loss 2 (softmax) has one for each class")
    if known and margins is None:
        raise ValueError(f"{where}: known margins, but no margins")
    p.block, p.loss, p.known = block, loss, bool(known)
    p.loss_parameter = _positive(loss_parameter, f"{where}: loss_parameter") if loss == LOSS_HUBER else 0.0
    p.targets = _kept(held, _vector(targets, f"{where}: targets", p.x.n))
    p.v = _kept(held, _table(v, f"{where}: v", outputs, p.x.d))
    p.intercept = _kept(held, _vector(intercept, f"{where}: intercept", outputs))
    p.weights = NULL if weights is None else _kept(held, _vector(weights, f"{where}: weights", p.x.n))
    p.margins = p.slopes = sums.rows = NULL
    if margins is not None:
        p.margins = _kept(held, _table(margins, f"{where}: margins", p.x.n, outputs, "float64", True))
    if slopes is not None:
        p.slopes = _kept(held, _table(slopes, f"{where}: slopes", p.x.n, outputs, "float64", True))
    if rows is not None:
        sums.rows = _kept(held, _table(rows, f"{where}: rows", outputs, p.x.d, "float64", True))
    slope_sums = np.empty(outputs)
    sums.slopes = _kept(held, _vector(slope_sums, where, outputs, "float64", True))
    cdef evaluation_kernel kernel = EVALUATIONS[active_level]
    cdef int status
    with nogil:
        status = kernel(&p, first, last, &sums)
    _raise(status, where)
    return sums.losses, slope_sums


cdef double *_kept(list held, _Array array):
    """Its elements, held with `held`."""
    held.append(array)
    return <double *>array.view.buf
