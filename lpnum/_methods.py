"""The methods an LPArray shares with ndarray: shape changes that carry the metadata along, and reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum import grid

if TYPE_CHECKING:
    from lpnum.array import LPArray


class ArrayMethods:
    """Mixin: every method is NumPy's function of that name, or acts on codes and metadata alike."""

    __slots__ = ()

    # ---- shape -----------------------------------------------------------------------------------------------------

    @property
    def T(self: LPArray) -> LPArray:  # noqa: N802
        """The transposed view."""
        return self.transpose()

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
        return self.reshape(np.squeeze(self.codes, axis).shape)

    # ---- values ----------------------------------------------------------------------------------------------------

    def item(self: LPArray, *index: Any) -> float:
        """One value as a Python float."""
        return float(self.dequantize(np.float64).item(*index)) if self.size == 1 else float(self[index or 0])

    def tolist(self: LPArray) -> Any:
        """The values as nested lists of Python floats."""
        return self.dequantize().tolist()

    def fill(self: LPArray, value: Any) -> None:
        """Set every element to one value, rounded to the grid."""
        self[...] = value

    def __float__(self: LPArray) -> float:
        return float(self.dequantize())

    def __int__(self: LPArray) -> int:
        return int(self.dequantize())

    def __bool__(self: LPArray) -> bool:
        return bool(self.dequantize())

    def __contains__(self: LPArray, value: Any) -> bool:
        return bool((self.dequantize() == value).any())

    # ---- reductions: wide accumulators, plain results ---------------------------------------------------------------

    def sum(self: LPArray, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Sum over axes; exact in integers where one scale serves all elements."""
        return np.add.reduce(self, axis=axis, dtype=dtype, out=out, **kwargs)

    def mean(self: LPArray, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Arithmetic mean over axes."""
        return np.mean(self, axis=axis, dtype=dtype, out=out, **kwargs)

    def min(self: LPArray, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Smallest value over axes."""
        return np.minimum.reduce(self, axis=axis, out=out, **kwargs)

    def max(self: LPArray, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Largest value over axes."""
        return np.maximum.reduce(self, axis=axis, out=out, **kwargs)

    def prod(self: LPArray, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Product over axes."""
        return np.multiply.reduce(self, axis=axis, dtype=dtype, out=out, **kwargs)

    def std(self: LPArray, axis: Any = None, **kwargs: Any) -> Any:
        """Standard deviation over axes."""
        return np.std(self, axis=axis, **kwargs)

    def var(self: LPArray, axis: Any = None, **kwargs: Any) -> Any:
        """Variance over axes."""
        return np.var(self, axis=axis, **kwargs)

    def argmin(self: LPArray, axis: Any = None, **kwargs: Any) -> Any:
        """Position of the smallest value."""
        return np.argmin(self, axis=axis, **kwargs)

    def argmax(self: LPArray, axis: Any = None, **kwargs: Any) -> Any:
        """Position of the largest value."""
        return np.argmax(self, axis=axis, **kwargs)

    def dot(self: LPArray, other: Any) -> Any:
        """Dot product; see `lpnum.linalg.dot`."""
        return np.dot(self, other)

    def clip(self: LPArray, min: Any = None, max: Any = None, out: Any = None) -> Any:
        """Values limited to an interval, on the same grid."""
        return np.clip(self, min, max, out=out)
