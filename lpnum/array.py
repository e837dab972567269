"""LPArray: codes, a format, scale and offset. Construction, views, grid changes, representation, pickling.

Arithmetic is in `lpnum._ufuncs`, NumPy's functions in `lpnum._array_functions`; both are tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from lpnum import _plans, _tables, codec, formats, grid
from lpnum._base import StoredArray, own_policy, value_dtype
from lpnum._methods import ArrayMethods
from lpnum._protocols import LibraryProtocols, function_of_others, ufunc_of_others
from lpnum._reductions import Reductions
from lpnum._regridding import GridChanges
from lpnum.formats import Format
from lpnum.rounding import Policy

__all__ = ["LPArray"]


def _operator(ufunc: np.ufunc, general: Any) -> Any:
    """The operator of a ufunc, without the way through NumPy for two small arrays."""

    def operator(self: LPArray, other: Any) -> Any:
        if type(other) is LPArray:
            result = _plans.arithmetic(ufunc, self, other)
            if result is not None:
                return result
        return general(self, other)

    return operator


class LPArray(GridChanges, ArrayMethods, Reductions, StoredArray, LibraryProtocols, NDArrayOperatorsMixin):
    """Array of low-precision numbers: ``value = offset + scale * decode(code)``.

    Make one with `lpnum.array`, `lpnum.zeros` and the other creation functions; the constructor wraps existing codes.

    Parameters
    ----------
    codes : ndarray of integers
        In the format's storage dtype; not copied.
    format : format or its name
    scale : float or array_like
        Broadcasts to the shape of `codes`; not 0.
    offset : float or array_like
        Broadcasts to the shape of `codes`.
    dtype : {float32, float64}
        NumPy dtype of the values.
    rounding, overflow : str, optional
        Policies of this array when it is written to; None takes the context's.
    rng : CounterRNG, optional
        Source of the random bits of stochastic rounding.

    Attributes
    ----------
    codes : ndarray
        The stored integers.
    format : Format
    scale, offset : float or float64 array
        An array has the dimensions of `codes`, with length 1 where it repeats.
    dtype : numpy.dtype
        Of the values (not of the codes).

    Notes
    -----
    What an operation returns:

    1. ``out=`` and in-place operations keep the target's format, scale and offset; values are only rounded.
    2. Scalars and plain arrays that scale or shift enter exactly: ``2 * x``, ``x / v``, ``x + v`` and ``-x`` change
       scale and offset and no code.
    3. Two low-precision arrays give a low-precision array, on a grid chosen by ``lpnum.context(result=...)``: "cover",
       the smallest grid that no pair of inputs can leave; "keep", the same grid (default for formats with a binary
       point on equal grids); "fit", calibrated on the result; "exact", more bits and no rounding.
    4. Every result is rounded once.
    5. Reductions and products accumulate wide and return plain arrays.
    6. Functions that are not supported raise TypeError; nothing turns into floats silently.

    Examples
    --------
    >>> x = lpnum.array([0.5, -1.27, 1.0], dtype=lpnum.fixed8)
    >>> x
    LPArray([ 0.5 , -1.27,  1.  ], format=lpnum.fixed8, scale=0.01)
    >>> x.codes, x.nbytes
    (array([  50, -127,  100], dtype=int8), 3)
    >>> (2 * x).scale
    0.02
    >>> x -= [0.004, 0.006, 0.0]
    >>> x.codes
    array([  50, -128,  100], dtype=int8)
    """

    __slots__ = ("_base", "_offset", "_scale", "codes", "dtype", "format")

    codes: np.ndarray
    format: Format
    dtype: np.dtype
    _scale: np.ndarray
    _offset: np.ndarray
    _base: LPArray | None  # of a view

    def __init__(
        self,
        codes: Any,
        format: Format | str,
        scale: Any = 1.0,
        offset: Any = 0.0,
        dtype: Any = np.float64,
        *,
        rounding: str | None = None,
        overflow: str | None = None,
        rng: Any = None,
    ) -> None:
        fmt = formats.format(format)
        stored = codec.as_codes(codes, fmt, "LPArray")
        self._set(
            stored,
            fmt,
            grid.as_metadata(scale, stored.shape, "scale"),
            grid.as_metadata(offset, stored.shape, "offset"),
            value_dtype(dtype, "LPArray"),
            own_policy(rounding, overflow, rng),
        )

    def _set(
        self,
        codes: np.ndarray,
        fmt: Format,
        scale: np.ndarray,
        offset: np.ndarray,
        dtype: np.dtype,
        policy: Policy | None,
        base: LPArray | None = None,
    ) -> LPArray:
        self.codes, self.format, self._scale, self._offset, self.dtype = codes, fmt, scale, offset, dtype
        self._policy, self._base = policy, base
        return self

    def _like(
        self, codes: np.ndarray, scale: np.ndarray, offset: np.ndarray, *, view: bool = False, dtype: Any = None
    ) -> LPArray:
        """An array of the same format and policies, without checks; a view shares metadata and random stream."""
        new = object.__new__(LPArray)
        base = None
        if view:
            base = self if self._base is None else self._base
        return new._set(codes, self.format, scale, offset, dtype or self.dtype, self._policy, base)

    def sibling(self, codes: np.ndarray, dtype: np.dtype) -> LPArray:
        """An array of the same format that shares scale and offset, without policies and without checks."""
        return object.__new__(LPArray)._set(codes, self.format, self._scale, self._offset, dtype, None)

    __add__ = _operator(np.add, NDArrayOperatorsMixin.__add__)
    __sub__ = _operator(np.subtract, NDArrayOperatorsMixin.__sub__)
    __mul__ = _operator(np.multiply, NDArrayOperatorsMixin.__mul__)
    __truediv__ = _operator(np.divide, NDArrayOperatorsMixin.__truediv__)

    # ---- attributes ------------------------------------------------------------------------------------------------

    @property
    def scale(self) -> Any:
        """Distance of neighbouring values per unit of the format: a float, or a float64 array that broadcasts."""
        return grid.plain(self._scale)

    @property
    def offset(self) -> Any:
        """Value of code 0: a float, or a float64 array that broadcasts."""
        return grid.plain(self._offset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return self.codes.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the codes; scale and offset arrays come on top and are counted by `metadata_nbytes`."""
        return self.codes.nbytes

    @property
    def metadata_nbytes(self) -> int:
        """Bytes of scale and offset."""
        return self._scale.nbytes + self._offset.nbytes

    @property
    def itemsize(self) -> int:
        """Bytes of one code."""
        return self.codes.itemsize

    def operand(self) -> codec.CodeOperand:
        """The array as the kernels take it."""
        unit = self.format.unit
        step: Any = float(self._scale) if self._scale.ndim == 0 else self._scale
        offset: Any = float(self._offset) if self._offset.ndim == 0 else self._offset
        return self.codes, step if unit == 1.0 else step * unit, offset, self.format.kernel

    def same_grid(self, other: LPArray) -> bool:
        """Whether format, scale and offset are equal."""
        return (
            isinstance(other, LPArray)
            and self.format == other.format
            and grid.same(self._scale, other._scale)
            and grid.same(self._offset, other._offset)
        )

    # ---- values out and in -----------------------------------------------------------------------------------------

    def dequantize(self, dtype: Any = None) -> np.ndarray:
        """The values as a plain array of `dtype` (default: ``self.dtype``)."""
        return codec.decode_operand(self.operand(), self.dtype if dtype is None else dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an LPArray cannot become an ndarray without a copy; use x.dequantize() or x.codes")
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        return self.dequantize(wanted) if wanted.kind == "f" else self.dequantize().astype(wanted)

    def _write(self, values: Any, where: str) -> None:
        """Store values on this array's grid; an array of the same grid gives its codes as they are."""
        if isinstance(values, LPArray):
            if values.size == 1 and values.ndim > self.ndim:
                values = values.reshape(())
            if self.format == values.format and all(
                grid.same(mine, theirs) and mine.ndim == 0
                for mine, theirs in ((self._scale, values._scale), (self._offset, values._offset))
            ):
                np.copyto(self.codes, values.codes)
                return
            values = values.copy() if np.may_share_memory(self.codes, values.codes) else values
            if _tables.cast(values, self):
                return
            source: Any = values.operand()
        else:
            source = codec.as_float_array(values, where, to_odd=True)
            while source.ndim > self.ndim and source.shape[0] == 1:
                source = source[0]
        codec.run(codec.COPY, source, None, self.operand(), self.policy(), where, keep_on_error=True)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, LPArray):
            raise IndexError("arrays used as indices must be of integer or boolean type, not LPArray")
        codes = self.codes[index]
        scale, offset = (grid.take(meta, self.shape, index) for meta in (self._scale, self._offset))
        if not isinstance(codes, np.ndarray):  # one element
            step, unscaled = float(scale) * self.format.unit, self.format.value(codes) / self.format.unit
            return self.dtype.type(step * unscaled if float(offset) == 0 else float(offset) + step * unscaled)
        return self._like(codes, scale, offset, view=np.may_share_memory(codes, self.codes))

    def __setitem__(self, index: Any, values: Any) -> None:
        codes = self.codes[index]
        scale, offset = (grid.take(meta, self.shape, index) for meta in (self._scale, self._offset))
        if isinstance(codes, np.ndarray) and np.may_share_memory(codes, self.codes):
            self._like(codes, scale, offset)._write(values, "LPArray.__setitem__")
            return
        chosen = self._like(np.array(codes), np.asarray(scale), np.asarray(offset))
        chosen._write(values, "LPArray.__setitem__")
        self.codes[index] = chosen.codes

    def copy(self, order: Any = "C") -> LPArray:
        """An independent array with the same codes, grid and policies (the random generator is shared)."""
        return self._like(self.codes.copy(order), self._scale.copy(), self._offset.copy())

    # ---- protocols ---------------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from lpnum import _ufuncs

        result = _ufuncs.dispatch(ufunc, method, inputs, kwargs)
        return ufunc_of_others(ufunc, method, inputs, kwargs) if result is NotImplemented else result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from lpnum import _array_functions

        result = _array_functions.dispatch(func, types, args, kwargs, self)
        return function_of_others(func, args, kwargs) if result is NotImplemented else result

    def __reduce__(self) -> Any:
        state = (self.codes, self.format, self.scale, self.offset, self.dtype, self.rounding, self.overflow, self.rng)
        return _unpickle, state

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise BufferError(
            "DLPack has no place for scale and offset: export x.codes or x.dequantize(), or use lpnum.to_torch"
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # the CPU

    def __repr__(self) -> str:
        parts = [np.array2string(self.dequantize(), separator=", ", prefix="LPArray("), f"format={self.format!r}"]
        for name, meta, default in (("scale", self._scale, None), ("offset", self._offset, 0.0)):
            if meta.ndim:
                parts.append(f"{name}=array of shape {meta.shape}")
            elif float(meta) != default:
                parts.append(f"{name}={float(meta):.6g}")
        return f"LPArray({', '.join(parts)})"


def unwritten(shape: Any, fmt: Format, scale: np.ndarray, offset: np.ndarray, dtype: Any, policy: Any) -> LPArray:
    """An array to be written to: codes of any value, metadata taken as they are."""
    codes = np.empty(shape, fmt.storage)
    return object.__new__(LPArray)._set(codes, fmt, scale, offset, np.dtype(dtype), policy)


def _unpickle(
    codes: np.ndarray, fmt: Format, scale: Any, offset: Any, dtype: Any, rounding: Any, overflow: Any, rng: Any
) -> LPArray:
    return LPArray(codes, fmt, scale, offset, dtype, rounding=rounding, overflow=overflow, rng=rng)
