"""How other libraries meet our arrays: who answers a mixed operation, tokens, sizes, one-line representations.

Nothing here imports another library: an operand of its type is the sign that it is loaded.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from lpnum.array import LPArray

# What SciPy's sparse arrays, which know no ufuncs, are asked instead. Sums and comparisons would be dense: refused.
_SPARSE_OPERATORS: dict[Any, Callable[[Any, Any], Any]] = {np.matmul: operator.matmul, np.multiply: operator.mul}
_EQUALITIES: dict[Any, Callable[[Any, Any], Any]] = {np.equal: operator.eq, np.not_equal: operator.ne}


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

        return type(self).__name__, normalize_token(self.__reduce__()[1])

    def __sizeof__(self: LPArray) -> int:
        """Bytes of the object with its codes and scales, those of a view included.

        Dask's workers decide by it what to keep in memory.
        """
        parts = (part for part in self.__reduce__()[1] if isinstance(part, np.ndarray))
        return object.__sizeof__(self) + sum(map(_memory, parts))

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
    """What an LPArray or BlockArray answers to a ufunc that has inputs of types unknown to lpnum.

    - Dask and xarray contain arrays: they are asked (NotImplemented), Dask after it got to know them.
    - An operation with a Series, Index or DataFrame, or with a masked array, is that of the plain values and gives what
      it gives for ``np.asarray(x)``. So are products with SciPy's sparse arrays.
    - In place, and with one of ours as ``out=``, what all these hold is taken without labels and masks, as NumPy does.
    - ``x == None``, ``x == "text"`` and the like are what they are for an ndarray.

    Raises
    ------
    TypeError
        If there is nobody else to ask.
    """
    if _is_ours(kwargs.get("where")):
        raise TypeError(f"np.{ufunc.__name__}: where= must be a boolean array, not {type(kwargs['where']).__name__}")
    if register_with_dask():
        return getattr(ufunc, method)(*inputs, **kwargs)
    if _is_ours(kwargs.get("out", (None,))[0]) and any(
        _holds_values(x) or _of(x, "xarray", "DataArray") for x in inputs
    ):
        return getattr(ufunc, method)(*(x if _is_ours(x) else np.asarray(x) for x in inputs), **kwargs)
    if any(map(_holds_values, inputs)):
        return getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
    sparse = any(_of(x, "scipy.sparse", "sparray", "spmatrix") for x in inputs)
    if sparse and method == "__call__" and ufunc in _SPARSE_OPERATORS and not kwargs:
        return _SPARSE_OPERATORS[ufunc](*map(_plain, inputs))
    foreign = [x for x in inputs if not (_is_ours(x) or is_ndarray(x) or isinstance(x, np.generic))]
    strangers = [
        x for x in foreign if not hasattr(x, "__array_ufunc__") and not isinstance(x, int | float | list | tuple)
    ]
    if not strangers or any(hasattr(x, "__array_ufunc__") for x in foreign):
        return NotImplemented
    if ufunc in _EQUALITIES and method == "__call__" and not sparse and not kwargs:
        return _EQUALITIES[ufunc](*map(_plain, inputs))
    way = "use the dense array S.toarray()" if sparse else "convert it (float, np.asarray), or use x.dequantize()"
    mine = next(type(x).__name__ for x in (*inputs, *kwargs.get("out", ())) if _is_ours(x))
    raise TypeError(f"np.{ufunc.__name__}: no operation of {mine} with {_name(strangers[0])}; {way}")


def function_of_others(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same for NumPy's functions; who takes part in their protocol is asked by NumPy."""
    return func(*args, **kwargs) if register_with_dask() else NotImplemented


def register_with_dask() -> bool:
    """Tell Dask, if it is loaded, that our arrays can be chunks; True if it did not know.

    Dask defers to all array types that are not registered; two that defer to each other cannot be combined.
    """
    if "dask.array" not in sys.modules:
        return False
    from dask.array.chunk_types import is_valid_chunk_type, register_chunk_type

    if is_valid_chunk_type(LibraryProtocols):
        return False
    register_chunk_type(LibraryProtocols)
    return True


def _is_ours(x: Any) -> TypeGuard[LPArray]:
    return isinstance(x, LibraryProtocols)


def is_ndarray(x: Any) -> bool:
    """Whether `x` is an ndarray that is no more than its elements: without units, masks and ufuncs of its own."""
    kind = type(x)
    if kind is np.ndarray:
        return True
    own = isinstance(x, np.ndarray) and kind.__array_ufunc__ is np.ndarray.__array_ufunc__
    return own and not isinstance(x, np.ma.MaskedArray)


def _plain(x: Any) -> Any:
    return x.dequantize() if _is_ours(x) else x


def _holds_values(x: Any) -> bool:
    """Whether `x` holds plain values and does not know ufuncs of LPArrays."""
    return isinstance(x, np.ma.MaskedArray) or _of(x, "pandas", "Series", "DataFrame", "Index")


def _of(x: Any, module: str, *kinds: str) -> bool:
    """Whether `x` is of one of the classes of a module that may not be loaded."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(x, tuple(getattr(loaded, kind) for kind in kinds))


def _name(x: Any) -> str:
    kind = type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
