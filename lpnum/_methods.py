"""The methods and attributes an LPArray shares with ndarray.

Each is NumPy's function of that name (see the table in `lpnum._array_functions`), or acts on codes and metadata alike.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum import formats, grid
from lpnum._flat import FlatIterator

if TYPE_CHECKING:
    from lpnum.array import LPArray

nx: Any = np  # NumPy's stubs do not know arrays that override its functions


def _refused(name: str, way: str) -> Callable[..., Any]:
    """A method of ndarray that would lose the meaning of the codes."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"LPArray.{name} is not defined, it would act on codes without their scale; use {way}")

    method.__name__, method.__doc__ = name, f"Not defined; use {way}."
    return method


def _hidden(name: str, way: str) -> property:
    """An attribute of ndarray that LPArray does not have."""

    def getter(self: Any) -> Any:
        raise AttributeError(f"LPArray has no attribute {name!r}; use {way}")

    return property(getter, doc=f"Not defined; use {way}.")


class ArrayMethods:
    """Mixin: every method is NumPy's function of that name, or acts on codes and metadata alike."""

    __slots__ = ()
    __array_priority__ = 10.0  # NumPy does not ask, others do: whose function takes a pair of arrays

    # ---- memory ----------------------------------------------------------------------------------------------------

    @property
    def strides(self: LPArray) -> tuple[int, ...]:
        """Bytes from one code to the next along each dimension."""
        return self.codes.strides

    @property
    def flags(self: LPArray) -> Any:
        """Memory layout of the codes."""
        return self.codes.flags

    @property
    def base(self: LPArray) -> LPArray | None:
        """The array of which this is a view, if it is one."""
        return self._base

    @property
    def device(self: LPArray) -> str:
        """Where the codes are: "cpu"."""
        return "cpu"

    def to_device(self: LPArray, device: str, /, *, stream: Any = None) -> LPArray:
        """The array itself: there is one device, "cpu"."""
        if device != "cpu" or stream is not None:
            raise ValueError(f"LPArray.to_device: the only device is 'cpu', without a stream, not {device!r}")
        return self

    def setflags(self: LPArray, write: bool | None = None, align: Any = None, uic: Any = None) -> None:
        """Make the codes writeable or read-only; see `numpy.ndarray.setflags`."""
        self.codes.setflags(write, align, uic)

    def view(self: LPArray, dtype: Any = None) -> Any:
        """The same codes: as they are, as integers, or read as codes of another format (scale and offset stay).

        Parameters
        ----------
        dtype : integer dtype, format or its name, optional
            Of the size of the codes.

        Examples
        --------
        >>> x = lpnum.array([0.5, -1.27], scale=0.01)
        >>> x.view().base is x, x.view(np.uint8)
        (True, array([ 50, 129], dtype=uint8))
        """
        if dtype is None:
            return self._like(self.codes, self._scale, self._offset, view=True)
        if formats.is_format(dtype):
            fmt = formats.format(dtype)
            if fmt.bits == self.format.bits:
                new = self._like(self.codes.view(fmt.storage), self._scale, self._offset, view=True)
                new.format = fmt
                return new
        elif np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize == self.itemsize:
            return self.codes.view(dtype)
        raise TypeError(
            f"LPArray.view: codes of {self.format!r} can be seen as integers of {self.itemsize} byte(s) or as a format "
            f"of {self.format.bits} bits, not as {dtype!r}; use x.astype(dtype) to convert values"
        )

    byteswap = _refused("byteswap", "x.codes.byteswap()")
    getfield = _refused("getfield", "x.codes")
    setfield = _refused("setfield", "x.codes")
    resize = _refused("resize", "np.resize(x, shape)")
    tobytes = _refused("tobytes", "x.codes.tobytes(), x.dequantize().tobytes() or pickle")
    tofile = _refused("tofile", "lpnum.save(file, x), x.codes.tofile(file) or x.dequantize().tofile(file)")
    data = _hidden("data", "x.codes.data")
    ctypes = _hidden("ctypes", "x.codes.ctypes")

    def dump(self: LPArray, file: Any) -> None:
        """Pickle to a file name or an open binary file."""
        if hasattr(file, "write"):
            pickle.dump(self, file, protocol=5)
        else:
            with open(file, "wb") as opened:
                pickle.dump(self, opened, protocol=5)

    def dumps(self: LPArray) -> bytes:
        """The pickle as bytes."""
        return pickle.dumps(self, protocol=5)

    # ---- shape -----------------------------------------------------------------------------------------------------

    def transpose(self: LPArray, *axes: Any) -> LPArray:
        """View with the axes permuted (reversed without arguments)."""
        codes = self.codes.transpose(*axes)
        metas = (m if m.ndim == 0 else m.transpose(*axes) for m in (self._scale, self._offset))
        return self._like(codes, *metas, view=True)

    def swapaxes(self: LPArray, axis1: int, axis2: int) -> LPArray:
        """View with two axes exchanged."""
        axes = list(range(self.ndim))
        axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
        return self.transpose(axes)

    def reshape(self: LPArray, *shape: Any, order: Any = "C") -> LPArray:
        """The same elements in another shape; a view where NumPy gives one.

        A scale or offset that varies along an axis is kept per element if the new shape mixes that axis with others.
        """
        codes = self.codes.reshape(*shape, order=order)
        metas = (
            m if m.ndim == 0 else grid.compact(grid.full(m, self.shape).reshape(codes.shape, order=order))
            for m in (self._scale, self._offset)
        )
        return self._like(codes, *metas, view=np.may_share_memory(codes, self.codes))

    def ravel(self: LPArray, order: Any = "C") -> LPArray:
        """One dimension; a view where possible."""
        return self.reshape(-1, order=order)

    def flatten(self: LPArray, order: Any = "C") -> LPArray:
        """One dimension; a copy."""
        return self.copy().reshape(-1, order=order)

    def squeeze(self: LPArray, axis: Any = None) -> LPArray:
        """View without axes of length 1."""
        return nx.squeeze(self, axis)

    @property
    def mT(self: LPArray) -> LPArray:  # noqa: N802
        """View with the last two axes exchanged."""
        return nx.matrix_transpose(self)

    def diagonal(self: LPArray, offset: int = 0, axis1: int = 0, axis2: int = 1) -> LPArray:
        """Diagonals, a read-only view."""
        return nx.diagonal(self, offset, axis1, axis2)

    def repeat(self: LPArray, repeats: Any, axis: Any = None) -> LPArray:
        """Elements repeated."""
        return nx.repeat(self, repeats, axis)

    def take(self: LPArray, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise") -> Any:
        """Elements at positions along an axis."""
        return np.take(self, indices, axis, out, mode)

    def compress(self: LPArray, condition: Any, axis: Any = None, out: Any = None) -> Any:
        """Slices along an axis that a condition selects."""
        return np.compress(condition, self, axis, out)

    def choose(self: LPArray, choices: Any, out: Any = None, mode: Any = "raise") -> Any:
        """Refused: an LPArray holds no positions."""
        return np.choose(self, choices, out, mode)

    # ---- order -----------------------------------------------------------------------------------------------------

    def sort(self: LPArray, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
        """Sort in place. Positions keep their grids, to which values are rounded where grids differ along the axis."""
        from lpnum import _ordering

        _ordering.in_place(self, axis, nx.sort(self, axis, kind, order, stable=stable))

    def partition(self: LPArray, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None) -> None:
        """Partition in place; as `sort`."""
        from lpnum import _ordering

        _ordering.in_place(self, axis, nx.partition(self, kth, axis, kind, order))

    def argsort(self: LPArray, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
        """Positions that sort."""
        return np.argsort(self, axis, kind, order, stable=stable)

    def argpartition(self: LPArray, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Any:
        """Positions that partition."""
        return np.argpartition(self, kth, axis, kind, order)

    def searchsorted(self: LPArray, v: Any, side: Any = "left", sorter: Any = None) -> Any:
        """Positions of values in a sorted array."""
        return np.searchsorted(self, v, side, sorter)

    def nonzero(self: LPArray) -> tuple[np.ndarray, ...]:
        """Positions of the elements that are not 0."""
        return np.nonzero(self)

    # ---- values ----------------------------------------------------------------------------------------------------

    @property
    def flat(self: LPArray) -> FlatIterator:
        """The elements in C order, to iterate over, to index and to assign to."""
        return FlatIterator(self)

    @flat.setter
    def flat(self: LPArray, values: Any) -> None:
        self.flat[...] = values

    @property
    def real(self: LPArray) -> LPArray:
        """The array itself."""
        return self

    @property
    def imag(self: LPArray) -> LPArray:
        """Zeros."""
        return nx.imag(self)

    def conj(self: LPArray) -> LPArray:
        """A copy: values are real."""
        return nx.conjugate(self)

    conjugate = conj

    def item(self: LPArray, *index: Any) -> float:
        """One value as a Python float: the only one, that of a flat position, or of an index.

        >>> lpnum.arange(4).reshape(2, 2).item(3)
        3.0
        """
        if len(index) == 1 and not isinstance(index[0], tuple):
            index = tuple(int(k) for k in np.unravel_index(range(self.size)[index[0]], self.shape))
        elif len(index) == 1:
            index = index[0]
        elif not index and self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        elif not index:
            index = (0,) * self.ndim
        if len(index) != self.ndim:
            raise ValueError("incorrect number of indices for array")
        return float(self[index])

    def put(self: LPArray, indices: Any, values: Any, mode: Any = "raise") -> None:
        """Set elements at flat positions, rounded to the grid."""
        nx.put(self, indices, values, mode)

    def round(self: LPArray, decimals: int = 0, out: Any = None) -> Any:
        """Values rounded to decimals, on a covering grid."""
        return np.round(self, decimals, out)

    def fill(self: LPArray, value: Any) -> None:
        """Set every element to one value, rounded to the grid."""
        self[...] = value

    def __float__(self: LPArray) -> float:
        return self._only()

    def __int__(self: LPArray) -> int:
        return int(self._only())

    def __complex__(self: LPArray) -> complex:
        return complex(self._only())

    def __round__(self: LPArray, ndigits: int | None = None) -> Any:
        return np.round(self, ndigits or 0)

    def _only(self: LPArray) -> float:
        if self.ndim:
            raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
        return float(self.dequantize())

    def __bool__(self: LPArray) -> bool:
        return bool(self.dequantize())

    def __contains__(self: LPArray, value: Any) -> bool:
        return bool((self.dequantize() == value).any())

    def clip(self: LPArray, min: Any = None, max: Any = None, out: Any = None) -> Any:
        """Values limited to an interval, on the same grid."""
        return np.clip(self, min, max, out=out)
