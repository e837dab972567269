"""How other libraries meet LPArrays: who answers a mixed operation, tokens, sizes, one-line representations.

Nothing here imports another library: an operand of its type is the sign that it is loaded.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from lpnum.array import LPArray

# What SciPy's sparse arrays, which know no ufuncs, are asked instead. Sums and comparisons would be dense: refused.
_SPARSE_OPERATORS: dict[Any, Callable[[Any, Any], Any]] = {np.matmul: operator.matmul, np.multiply: operator.mul}


class LibraryProtocols:
    """Mixin: the attributes of an array type that Dask, xarray, pandas and others look for."""

    __slots__ = ()

    # Above ndarray (0), below np.matrix (10) and whatever contains arrays (Dask 11, xarray 50). Dask computes with
    # the function registered for the type of the highest priority among chunks.
    __array_priority__ = 5.0
    # Above DataFrame (4000): pandas defers, and `ufunc_of_others` answers for it. Left to itself, pandas would unpack
    # its own operand only, and wrap values that were rounded to a grid.
    __pandas_priority__ = 5000

    def __dask_tokenize__(self: LPArray) -> Any:
        """What identifies the contents, for Dask: equal arrays have equal tokens, in any process."""
        from dask.base import normalize_token

        rng = None if self.rng is None else (self.rng.seed, self.rng.stream)
        said = dataclasses.astuple(self.format), self.dtype.str, self.rounding, self.overflow, rng
        arrays = (self.codes, self._scale, self._offset)
        return type(self).__name__, type(self.format).__name__, *said, *map(normalize_token, arrays)

    def __sizeof__(self: LPArray) -> int:
        """Bytes of the object with its codes, scale and offset, those of a view included.

        Dask's workers decide by it what to keep in memory.
        """
        return object.__sizeof__(self) + sum(map(_memory, (self.codes, self._scale, self._offset)))

    def to_numpy(self: LPArray, dtype: Any = None) -> np.ndarray:
        """The values as a plain array: `LPArray.dequantize` under the name that it has in pandas and xarray.

        Matplotlib looks for it, and takes a table without it for a list of its rows instead of its columns.
        """
        return self.dequantize(dtype)

    def _repr_inline_(self: LPArray, max_width: int) -> str:
        """One line for the table of an `xarray.Dataset`: the format, and values from both ends as there is room."""
        head = [f"<{self.format!r}>".replace("lpnum.", "")]
        tail: list[str] = []
        for k in range(self.size):
            index = np.unravel_index(k // 2 if k % 2 == 0 else self.size - 1 - k // 2, self.shape)
            word = f"{self[index]:.4g}"
            left_out = k + 1 < self.size
            if len(" ".join(head + ["..."] * left_out + [word] + tail)) > max_width:
                return " ".join(head + ["..."] + tail[::-1])
            (head if k % 2 == 0 else tail).append(word)
        return " ".join(head + tail[::-1])


def _memory(array: np.ndarray) -> int:
    """Bytes that the elements take, repeated ones once."""
    lengths = (n for n, stride in zip(array.shape, array.strides, strict=True) if stride)
    return array.itemsize * int(np.prod(list(lengths), dtype=np.int64)) if array.size else 0


# ---- mixed operations ----------------------------------------------------------------------------------------------


def ufunc_of_others(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an LPArray answers to a ufunc that has inputs of types unknown to lpnum.

    - Dask and xarray contain arrays: they are asked (NotImplemented), Dask after it got to know LPArray.
    - An operation with a Series, Index or DataFrame is that of the plain values, and gives what it gives for
      ``np.asarray(x)``; in place the array stays what it is.
    - Products with SciPy's sparse arrays are those of the plain values, too.

    Raises
    ------
    TypeError
        If there is nobody else to ask.
    """
    if register_with_dask():
        return getattr(ufunc, method)(*inputs, **kwargs)
    if any(_of_pandas(x) for x in inputs):
        target = kwargs.get("out", (None,))[0]
        change = _plain_of_pandas if _is_ours(target) else _plain_of_ours
        return getattr(ufunc, method)(*map(change, inputs), **kwargs)
    sparse = [x for x in inputs if _of_scipy_sparse(x)]
    if sparse and method == "__call__" and ufunc in _SPARSE_OPERATORS and not kwargs:
        return _SPARSE_OPERATORS[ufunc](*map(_plain_of_ours, inputs))
    unknown = [x for x in inputs if not hasattr(x, "__array_ufunc__") and not isinstance(x, int | float | list | tuple)]
    if unknown and all(_is_ours(x) or type(x) is np.ndarray or not hasattr(x, "__array_ufunc__") for x in inputs):
        way = "use the dense array S.toarray()" if sparse else "convert it (np.asarray), or use x.dequantize()"
        raise TypeError(f"np.{ufunc.__name__}: no operation of an LPArray with {_name(unknown[0])}; {way}")
    return NotImplemented


def function_of_others(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same for NumPy's functions; who takes part in their protocol is asked by NumPy."""
    return func(*args, **kwargs) if register_with_dask() else NotImplemented


def register_with_dask() -> bool:
    """Tell Dask, if it is loaded, that LPArrays can be chunks; True if it did not know.

    Dask defers to all array types that are not registered; two that defer to each other cannot be combined.
    """
    if "dask.array" not in sys.modules:
        return False
    from dask.array.chunk_types import is_valid_chunk_type, register_chunk_type

    from lpnum.array import LPArray

    if is_valid_chunk_type(LPArray):
        return False
    register_chunk_type(LPArray)
    return True


def _is_ours(x: Any) -> TypeGuard[LPArray]:
    return isinstance(x, LibraryProtocols)


def _plain_of_ours(x: Any) -> Any:
    return x.dequantize() if _is_ours(x) else x


def _plain_of_pandas(x: Any) -> Any:
    return np.asarray(x) if _of_pandas(x) else x


def _of_pandas(x: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.Series | pandas.DataFrame | pandas.Index)


def _of_scipy_sparse(x: Any) -> bool:
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and sparse.issparse(x)


def _name(x: Any) -> str:
    kind = type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
