"""What LPArray and BlockArray share: shape, policies, copies, and what follows from their values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lpnum.random import CounterRNG, as_rng
from lpnum.rounding import Policy, current


class StoredArray:
    """Mixin of the arrays of codes; the class has `shape`, `copy`, `dequantize`, `transpose` and indices of its own."""

    __slots__ = ("_policy",)

    _policy: Policy | None  # what the array itself says; None where it says nothing

    if TYPE_CHECKING:  # what the classes define

        @property
        def shape(self) -> tuple[int, ...]: ...
        def copy(self) -> Self: ...
        def transpose(self, *axes: Any) -> Self: ...
        def dequantize(self, dtype: Any = None) -> np.ndarray: ...
        def __getitem__(self, index: Any) -> Any: ...

    # ---- shape -----------------------------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def T(self) -> Self:  # noqa: N802
        """The transposed view."""
        return self.transpose()

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ---- policies --------------------------------------------------------------------------------------------------

    @property
    def rounding(self) -> str | None:
        """Rounding mode of writes to this array; None takes the context's."""
        return None if self._policy is None else self._policy.rounding

    @property
    def overflow(self) -> str | None:
        """Overflow policy of writes to this array; None takes the context's."""
        return None if self._policy is None else self._policy.overflow

    @property
    def rng(self) -> CounterRNG | None:
        """Generator of the array's stochastic rounding, if it has its own."""
        return None if self._policy is None else self._policy.rng

    def policy(self) -> Policy:
        """Rounding and overflow when this array is written to: its own, else the context's."""
        return current() if self._policy is None else self._policy.over(current())

    # ---- values and copies -----------------------------------------------------------------------------------------

    def tolist(self) -> Any:
        """The values as nested lists of Python floats."""
        return self.dequantize().tolist()

    def __str__(self) -> str:
        return str(self.dequantize())

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = self.copy()
        if self.rng is not None:
            new._policy = Policy(self.rounding, self.overflow, None, CounterRNG(self.rng.seed, self.rng.stream))
        return new


def own_policy(rounding: str | None, overflow: str | None, rng: Any) -> Policy | None:
    """What an array says about writes to itself; None if nothing."""
    if rng is None and rounding is None and overflow is None:
        return None
    draws = rng is not None or rounding == "stochastic"
    return Policy(rounding, overflow, None, as_rng(rng) if draws else None)


def value_dtype(dtype: Any, where: str) -> np.dtype:
    """The NumPy dtype of an array's values, checked."""
    wanted = np.dtype(dtype)
    if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{where}: the dtype of the values is float32 or float64, not {wanted}")
    return wanted
