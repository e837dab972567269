# The arguments of the epochs, checked: what the kernels are given lies within its arrays, whatever a caller passes.


cdef class _Array:
    """A C-contiguous buffer with a checked element type, held while the kernel runs."""

    cdef Py_buffer view
    cdef bint held
    cdef int kind

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
        self.kind = _KINDS[name]

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef size_t length(self, int axis):
        return <size_t>self.view.shape[axis]

    cdef const double *doubles(self):
        return <const double *>self.view.buf


_TYPE_NAMES = {
    ("b", 1): "int8", ("B", 1): "uint8", ("h", 2): "int16", ("i", 4): "int32", ("l", 4): "int32", ("I", 4): "uint32",
    ("L", 4): "uint32", ("l", 8): "int64", ("q", 8): "int64", ("f", 4): "float32", ("d", 8): "float64",
}
_KINDS = {
    "int8": X_INT8, "uint8": X_UINT8, "int16": X_INT16, "float32": X_FLOAT32, "float64": X_FLOAT64,
    "int32": KIND_INT32, "uint32": KIND_UINT32, "int64": KIND_INT64,
}
_PACKED = {"int4": X_INT4, "uint4": X_UINT4}
_LOSSES = "0 (squared), 1 (logistic), 2 (softmax), 3 (huber)"


cdef _Array _vector(value, str where, size_t length, str allowed="float64", bint writable=False):
    cdef _Array array = _Array(value, where, allowed, 1, writable)
    if array.length(0) != length:
        raise ValueError(f"{where}: length {array.length(0)}; expected {length}")
    return array


cdef _Array _table(value, str where, size_t rows, size_t columns, str allowed="float64", bint writable=False):
    """rows x columns; one-dimensional where there is one row or one column."""
    cdef size_t length = rows * columns
    cdef int ndim = 1 if (rows == 1 or columns == 1) and getattr(value, "ndim", 2) == 1 else 2
    if ndim == 1:
        return _vector(value, where, length, allowed, writable)
    cdef _Array array = _Array(value, where, allowed, 2, writable)
    if array.length(0) != rows or array.length(1) != columns:
        raise ValueError(f"{where}: shape ({array.length(0)}, {array.length(1)}); expected ({rows}, {columns})")
    return array


cdef _check_finite(_Array array, str where):
    cdef const double *v = array.doubles()
    cdef size_t j
    for j in range(<size_t>(array.view.len // sizeof(double))):
        if v[j] - v[j] != 0.0:
            raise ValueError(f"{where}: element {j} is {v[j]}; all elements must be finite")


cdef double _positive(value, str where) except? -1.0:
    cdef double number = float(value)
    if not (0.0 < number < math.inf):
        raise ValueError(f"{where} = {value!r}; a positive finite number is expected")
    return number


cdef double _not_negative(value, str where) except? -1.0:
    cdef double number = float(value)
    if not (0.0 <= number < math.inf):
        raise ValueError(f"{where} = {value!r}; a finite number >= 0 is expected")
    return number


cdef size_t _unsorted_row(const int64_t *start, const int32_t *column, size_t n) noexcept nogil:
    """The first row whose columns do not increase strictly, or n."""
    cdef size_t i
    cdef int64_t k
    cdef bint falls = False
    for i in range(n):
        for k in range(start[i] + 1, start[i + 1]):
            falls |= column[k] <= column[k - 1]
        if falls:
            return i
    return n


cdef class _Matrix:
    """A DataMatrix, checked."""

    cdef data_matrix c
    cdef list arrays

    def __cinit__(self, str where, x):
        if not isinstance(x, DataMatrix):
            raise TypeError(f"{where}: x is a {type(x).__name__}; pass a lpnum_optim.data.DataMatrix")
        if x.indptr is not None:
            self.sparse(where, x)
        else:
            self.dense(where, x)
        self.c.step = _positive(x.step, f"{where}: x.step")
        if self.c.n == 0 or self.c.d == 0:
            raise ValueError(
                f"{where}: x is empty, shape ({self.c.n}, {self.c.d}); at least one row and column are needed"
            )
        if x.columns is not None:
            columns = _vector(x.columns, f"{where}: x.columns", self.c.d)
            _check_finite(columns, f"{where}: x.columns")
            self.c.column_scale = (<_Array>columns).doubles()
            self.arrays.append(columns)

    cdef dense(self, str where, x):
        types = "uint8" if x.packed else "int8 uint8 int16 float32 float64"
        cdef _Array rows = _Array(x.rows, f"{where}: x.rows", types, 2)
        self.arrays = [rows]
        self.c.data, self.c.kind = rows.view.buf, rows.kind
        self.c.n, self.c.d = rows.length(0), rows.length(1)
        if x.packed is None:
            if x.n_features is not None and x.n_features != self.c.d:
                raise ValueError(f"{where}: x.n_features = {x.n_features}; the rows have {self.c.d} columns")
            return
        if x.packed not in _PACKED:
            raise ValueError(f"{where}: x.packed = {x.packed!r}; allowed: None, 'int4', 'uint4'")
        if not isinstance(x.n_features, int) or (x.n_features + 1) // 2 != self.c.d:
            raise ValueError(
                f"{where}: x.n_features = {x.n_features!r}; rows of {self.c.d} bytes hold {2 * self.c.d - 1} or "
                f"{2 * self.c.d} packed codes"
            )
        self.c.kind, self.c.d = _PACKED[x.packed], x.n_features

    cdef sparse(self, str where, x):
        cdef _Array values = _Array(x.rows, f"{where}: x.rows", "int8 uint8 int16 float32 float64", 1)
        cdef size_t stored = values.length(0), k
        cdef _Array indices = _vector(x.indices, f"{where}: x.indices", stored, "int32")
        cdef _Array indptr = _Array(x.indptr, f"{where}: x.indptr", "int64", 1)
        cdef const int64_t *start = <const int64_t *>indptr.view.buf
        cdef const int32_t *column = <const int32_t *>indices.view.buf
        cdef uint32_t largest = 0  # a negative column is a huge one
        if x.packed is not None:
            raise ValueError(f"{where}: x.packed = {x.packed!r}; values of a sparse matrix are not packed")
        if not isinstance(x.n_features, int) or not 0 < x.n_features < 1 << 31:
            raise ValueError(f"{where}: x.n_features = {x.n_features!r}; a sparse matrix needs its number of columns")
        if indptr.length(0) == 0 or start[0] != 0 or start[indptr.length(0) - 1] != <int64_t>stored:
            raise ValueError(f"{where}: x.indptr; expected n + 1 numbers from 0 to the {stored} stored values")
        for k in range(indptr.length(0) - 1):
            if start[k] > start[k + 1]:
                raise ValueError(f"{where}: x.indptr[{k + 1}] = {start[k + 1]} is below the one before, {start[k]}")
        for k in range(stored):
            largest = max(largest, <uint32_t>column[k])
        if stored and largest >= <uint32_t>x.n_features:
            raise IndexError(f"{where}: x.indices contains {<int32_t>largest}; allowed 0..{x.n_features - 1}")
        k = _unsorted_row(start, column, indptr.length(0) - 1)
        if k < indptr.length(0) - 1:
            raise ValueError(
                f"{where}: x.indices of row {k} do not increase; sort them and add up duplicates: csr.sum_duplicates()"
            )
        self.arrays = [values, indices, indptr]
        self.c.data, self.c.kind = values.view.buf, values.kind
        self.c.columns, self.c.row_start = column, start
        self.c.n, self.c.d = indptr.length(0) - 1, x.n_features


cdef class _Problem:
    """The arguments that both epochs share, checked."""

    cdef epoch_problem c
    cdef list arrays

    def __cinit__(self, str where, x, targets, margins, anchors, direction, iterate, dict o):
        cdef _Matrix matrix = _Matrix(where, x)
        cdef size_t outputs = 1
        self.c.x = matrix.c
        self.arrays = [matrix]
        if getattr(iterate, "ndim", 1) == 2:
            outputs = iterate.shape[0]
        self.c.outputs = outputs
        self.c.targets = self.doubles(_vector(targets, f"{where}: targets", self.c.x.n))
        self.c.margins = self.doubles(_table(margins, f"{where}: margins", self.c.x.n, outputs))
        self.c.anchors = self.doubles(_table(anchors, f"{where}: anchors", self.c.x.n, outputs))
        self.c.direction = self.finite(
            _table(direction, f"{where}: direction", outputs, self.c.x.d), f"{where}: direction")
        if o["weights"] is not None:
            self.c.weights = self.finite(_vector(o["weights"], f"{where}: weights", self.c.x.n), f"{where}: weights")
        if o["shrink"] is not None:
            shrink = _vector(o["shrink"], f"{where}: shrink", self.c.x.d)
            self.c.shrink = self.finite(shrink, f"{where}: shrink")
        if o["center"] is not None:
            self.c.center = self.finite(
                _table(o["center"], f"{where}: center", outputs, self.c.x.d), f"{where}: center")
        if o["intercept"] is not None:
            self.c.intercept = <double *>self.doubles(
                _vector(o["intercept"], f"{where}: intercept", outputs, "float64", True))
            self.c.intercept_direction = self.finite(
                _vector(o["intercept_direction"], f"{where}: intercept_direction", outputs),
                f"{where}: intercept_direction")
            self.c.intercept_step = _not_negative(o["intercept_step"], f"{where}: intercept_step")
        self.c.step_size = _positive(o["step_size"], f"{where}: step_size")
        self.c.l2 = _not_negative(o["l2"], f"{where}: l2")
        self.c.l1 = _not_negative(o["l1"], f"{where}: l1")
        batch = o["batch"]
        if not isinstance(batch, int) or batch < 1:
            raise ValueError(f"{where}: batch = {batch!r}; an integer of at least 1 is expected")
        self.c.batch, self.c.centered = batch, bool(o["centered"])
        self.check_loss(where, o["loss"], o["loss_parameter"])
        self.check_samples(where, o["samples"])

    cdef const double *doubles(self, _Array array):
        self.arrays.append(array)
        return array.doubles()

    cdef const double *finite(self, _Array array, str where) except NULL:
        _check_finite(array, where)
        return self.doubles(array)

    cdef check_loss(self, str where, loss, parameter):
        cdef size_t i
        cdef double y
        if loss not in (LOSS_SQUARED, LOSS_LOGISTIC, LOSS_SOFTMAX, LOSS_HUBER):
            raise ValueError(f"{where}: loss {loss!r}; allowed: {_LOSSES}")
        self.c.loss = loss
        if (loss == LOSS_SOFTMAX) != (self.c.outputs > 1):
            raise ValueError(
                f"{where}: loss {loss} with {self.c.outputs} outputs; the iterate has a row for each class with "
                "loss 2 (softmax, at least 2), and one row with the others"
            )
        if loss == LOSS_HUBER:
            self.c.loss_parameter = _positive(parameter, f"{where}: loss_parameter")
        if loss == LOSS_SOFTMAX:
            for i in range(self.c.x.n):
                y = self.c.targets[i]
                if not (0.0 <= y < <double>self.c.outputs) or y != <double><size_t>y:
                    raise ValueError(f"{where}: targets[{i}] = {y}; classes are numbered 0..{self.c.outputs - 1}")

    cdef check_samples(self, str where, samples):
        cdef _Array array = _Array(samples, f"{where}: samples", "int64 uint32", 1)
        cdef size_t t, i, n = self.c.x.n
        self.arrays.append(array)
        self.c.samples.index = array.view.buf
        self.c.samples.count = array.length(0)
        self.c.samples.wide = array.kind == KIND_INT64
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
    if status == EPOCH_TOO_WIDE:
        raise ValueError(f"{where}: packed 4-bit rows of more than 2^23 columns; pass the codes unpacked, as int8")
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
    c.mean_runs = given.mean_runs
    return c


cdef lowbit_iterate _iterate(z, z_step, code_min, code_max, seed, stream, total, const epoch_problem *p,
                             list arrays) except *:
    cdef _Array codes = _table(z, "lowbit_epoch: z", p.outputs, p.x.d, "int8 int16", True)
    cdef _Array sums
    cdef lowbit_iterate iterate
    cdef size_t j
    cdef int code
    arrays.append(codes)
    iterate.codes = codes.view.buf
    iterate.wide = codes.kind == X_INT16
    iterate.step = _positive(z_step, "lowbit_epoch: z_step")
    lowest, highest = (-32768, 32767) if iterate.wide else (-128, 127)
    if not (lowest <= code_min <= 0 < code_max <= highest):
        raise ValueError(
            f"lowbit_epoch: codes {code_min}..{code_max}; allowed are {lowest} <= code_min <= 0 < code_max <= {highest}"
            f" for {'int16' if iterate.wide else 'int8'} z"
        )
    iterate.code_min, iterate.code_max = code_min, code_max
    for j in range(p.outputs * p.x.d):
        code = (<const int16_t *>iterate.codes)[j] if iterate.wide else (<const int8_t *>iterate.codes)[j]
        if not (iterate.code_min <= code <= iterate.code_max):
            raise ValueError(f"lowbit_epoch: element {j} of z is {code}; allowed {code_min}..{code_max}")
    iterate.seed, iterate.stream = seed, stream
    iterate.mean = NULL
    if total is not None:
        sums = _table(total, "lowbit_epoch: control.total", p.outputs, p.x.d, "float64", True)
        arrays.append(sums)
        iterate.mean = <double *>sums.view.buf
    return iterate
