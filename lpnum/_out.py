"""``out=`` of functions that compute their result first."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum.array import LPArray


def store(result: Any, out: Any) -> Any:
    """The result, or `out` filled with it: rounded to the grid of an LPArray, cast to the dtype of a plain array.

    `out` is None, an array, or a tuple of one, as ufuncs have it.
    """
    if isinstance(out, tuple):
        (out,) = out
    if out is None:
        return result
    if not isinstance(out, LPArray | np.ndarray):
        raise TypeError(f"out= must be an array, not {type(out).__name__}")
    if out.shape != np.shape(result):
        raise ValueError(f"output array has shape {out.shape}, the result {np.shape(result)}")
    if isinstance(out, LPArray):
        out._write(result, "out=")
    else:
        np.copyto(out, np.asarray(result), casting="same_kind")
    return out
