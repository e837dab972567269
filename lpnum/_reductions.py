"""The methods of arrays that reduce: each is NumPy's function of that name."""

from __future__ import annotations

from typing import Any

import numpy as np

nx: Any = np  # NumPy's stubs do not know arrays that override its functions


class Reductions:
    """Mixin: wide accumulators, plain results."""

    __slots__ = ()

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Sum over axes; of an LPArray exact in integers where one scale serves all elements."""
        return nx.add.reduce(self, axis=axis, dtype=dtype, out=out, **kwargs)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Arithmetic mean over axes."""
        return nx.mean(self, axis=axis, dtype=dtype, out=out, **kwargs)

    def min(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Smallest value over axes."""
        return nx.minimum.reduce(self, axis=axis, out=out, **kwargs)

    def max(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Largest value over axes."""
        return nx.maximum.reduce(self, axis=axis, out=out, **kwargs)

    def ptp(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Largest minus smallest value over axes."""
        return nx.ptp(self, axis=axis, out=out, **kwargs)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Product over axes."""
        return nx.multiply.reduce(self, axis=axis, dtype=dtype, out=out, **kwargs)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        """Running sum along an axis."""
        return nx.cumsum(self, axis=axis, dtype=dtype, out=out)

    def cumprod(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        """Running product along an axis."""
        return nx.cumprod(self, axis=axis, dtype=dtype, out=out)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
        """Sum of a diagonal."""
        return nx.trace(self, offset, axis1, axis2, dtype, out)

    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, **kwargs: Any) -> Any:
        """Standard deviation over axes."""
        return nx.std(self, axis=axis, dtype=dtype, out=out, ddof=ddof, **kwargs)

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, **kwargs: Any) -> Any:
        """Variance over axes."""
        return nx.var(self, axis=axis, dtype=dtype, out=out, ddof=ddof, **kwargs)

    def all(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Whether all values are not 0."""
        return nx.all(self, axis=axis, out=out, **kwargs)

    def any(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Whether any value is not 0."""
        return nx.any(self, axis=axis, out=out, **kwargs)

    def argmin(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Position of the smallest value."""
        return nx.argmin(self, axis=axis, out=out, **kwargs)

    def argmax(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Position of the largest value."""
        return nx.argmax(self, axis=axis, out=out, **kwargs)

    def dot(self, other: Any, out: Any = None) -> Any:
        """Dot product; of LPArrays on codes, see `lpnum.linalg.dot`."""
        return nx.dot(self, other) if out is None else nx.dot(self, other, out=out)
