"""NumPy's functions on LPArrays (``__array_function__``): every function stands in exactly one row of the table.

========= ===================================================================================================
group     result
========= ===================================================================================================
handled   the format is kept (or the answer is about shape and dtype): our own implementation
generic   the format is kept: NumPy's function moves codes and metadata, or works through handled functions
wide      plain: reductions, statistics, tests, linear algebra on the float64 values, in the value dtype
refused   a TypeError that names the way out
========= ===================================================================================================

A name that ends in ``.*`` stands for all functions of a module. `docs/coverage.md` is made from this table and that of
the ufuncs by ``python -m lpnum._coverage``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from lpnum import _choosing, _elementary, _ordering, _rearranging, _wide
from lpnum._elementary import created, on_codes, on_dtypes
from lpnum._rearranging import each, filled, joined, name_of, rearranged, second
from lpnum._wide import on_values, product
from lpnum.array import LPArray

FLOATS_OR_CODES = "use x.dequantize() for floats, or x.codes for the integers"
Rule = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


class Row(NamedTuple):
    """Functions that are treated alike: group, what happens, the rule, names separated by spaces."""

    group: str
    what: str
    rule: Rule | None
    names: str


def own(module: ModuleType) -> Rule:
    """The functions that a module of ours defines under NumPy's names."""
    return lambda func, args, kwargs: getattr(module, func.__name__)(*args, **kwargs)


def told(function: Callable[..., Any]) -> Rule:
    """A function of ours that serves several of NumPy's, and is told which."""
    return lambda func, args, kwargs: function(func, *args, **kwargs)


def numpys(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """NumPy's own implementation, which is written with functions that LPArray handles."""
    return func._implementation(*args, **kwargs)


def refuse(func: Any, way: str = FLOATS_OR_CODES) -> TypeError:
    """The error for a function that is not defined."""
    return TypeError(f"{name_of(func)} is not defined for LPArray; {way}")


TABLE = (
    Row(
        "generic",
        "moves codes and metadata alike; a view where NumPy gives one",
        rearranged,
        "array_split broadcast_to delete diagonal dsplit expand_dims flip fliplr flipud hsplit linalg.diagonal "
        "linalg.matrix_transpose matrix_transpose moveaxis ravel repeat reshape resize roll rollaxis rot90 split "
        "squeeze swapaxes take take_along_axis tile transpose unstack vsplit fft.fftshift fft.ifftshift "
        "lib.stride_tricks.sliding_window_view",
    ),
    Row("generic", "moves what a condition selects", second, "compress extract"),
    Row(
        "generic",
        "moves each of several arrays",
        each,
        "atleast_1d atleast_2d atleast_3d broadcast_arrays meshgrid",
    ),
    Row("generic", "moves elements and puts 0 between them, rounded to the grid", filled, "diag diagflat tril triu"),
    Row("generic", "NumPy's own code on functions that are handled", numpys, "trim_zeros"),
    Row(
        "generic",
        "joins parts, each with its grid, in the promoted format; plain parts are rounded to a grid",
        joined,
        "block column_stack concatenate dstack hstack stack vstack",
    ),
    Row("generic", "through concatenate", own(_rearranging), "append insert"),
    Row("handled", "the frame is rounded to the grid of the nearest element", own(_rearranging), "pad"),
    Row("handled", "sorted by value on codes, NaN last", own(_ordering), "sort partition"),
    Row("handled", "positions, by the order of the values", own(_ordering), "argsort argpartition lexsort"),
    Row(
        "handled",
        "positions; NaN counts as the extreme",
        told(_ordering.argextreme),
        "argmax argmin",
    ),
    Row(
        "handled",
        "sets of elements, by value",
        own(_ordering),
        "unique intersect1d setdiff1d setxor1d union1d isin",
    ),
    Row(
        "handled",
        "sets of elements, every NaN of its own",
        told(_ordering.unique_parts),
        "unique_all unique_counts unique_inverse unique_values",
    ),
    Row(
        "handled",
        "one of several, on a grid that holds all of them",
        own(_choosing),
        "where select choose",
    ),
    Row("handled", "on the grid of the array", own(_choosing), "clip nan_to_num piecewise"),
    Row(
        "handled",
        "writes into the array, on its own grid",
        own(_choosing),
        "copyto fill_diagonal place put put_along_axis putmask",
    ),
    Row(
        "handled",
        "an array like the given one: its format, and its grid if the shape allows",
        own(_elementary),
        "astype copy empty_like full_like ones_like zeros_like",
    ),
    Row(
        "handled",
        "with like=x: the values NumPy makes, in the format of x",
        None,  # `created`, which needs the array given as like=
        "arange array asanyarray asarray ascontiguousarray asfortranarray empty eye frombuffer fromfile fromfunction "
        "fromiter fromstring full genfromtxt identity loadtxt ones require tri zeros",
    ),
    Row(
        "handled",
        "a function of each element, rounded once to a covering grid",
        own(_elementary),
        "angle around fix i0 round sinc",
    ),
    Row("handled", "differences on a covering grid, rounded once", own(_elementary), "diff ediff1d"),
    Row("handled", "the array itself, or zeros: values are real", own(_elementary), "imag real real_if_close"),
    Row("handled", "shape and kind", own(_elementary), "iscomplexobj isrealobj ndim shape size array_repr array_str"),
    Row(
        "generic",
        "looks at shape or memory of the codes",
        on_codes,
        "diag_indices_from may_share_memory shares_memory tril_indices_from triu_indices_from",
    ),
    Row("generic", "looks at the dtype of the values", on_dtypes, "can_cast common_type min_scalar_type result_type"),
    Row("generic", "the function gets LPArrays", own(_elementary), "apply_along_axis apply_over_axes"),
    Row("wide", "reductions with a wide accumulator", own(_wide), "amax amin max mean min prod sum"),
    Row(
        "wide",
        "reductions and statistics",
        on_values,
        "all any average corrcoef count_nonzero cov median nanargmax nanargmin nanmax nanmean nanmedian nanmin "
        "nanpercentile nanprod nanquantile nanstd nansum nanvar percentile ptp quantile std trace var",
    ),
    Row(
        "wide",
        "running sums and products",
        on_values,
        "cumprod cumsum cumulative_prod cumulative_sum nancumprod nancumsum",
    ),
    Row(
        "wide",
        "tests and positions",
        on_values,
        "allclose argwhere array_equal array_equiv flatnonzero iscomplex isclose isneginf isposinf isreal nonzero",
    ),
    Row(
        "wide",
        "bins, interpolation, signals",
        on_values,
        "bincount convolve correlate digitize gradient histogram histogram2d histogram_bin_edges histogramdd interp "
        "searchsorted trapezoid unwrap",
    ),
    Row(
        "wide",
        "products of arrays",
        product,
        "cross dot einsum inner kron outer tensordot vdot linalg.cross linalg.matmul linalg.multi_dot linalg.outer "
        "linalg.tensordot linalg.vecdot",
    ),
    Row("wide", "plan of a product", on_values, "einsum_path"),
    Row(
        "wide",
        "linear algebra",
        on_values,
        "linalg.cholesky linalg.cond linalg.det linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.inv "
        "linalg.lstsq linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.norm linalg.pinv linalg.qr "
        "linalg.slogdet linalg.solve linalg.svd linalg.svdvals linalg.tensorinv linalg.tensorsolve linalg.trace "
        "linalg.vector_norm",
    ),
    Row(
        "wide",
        "polynomials",
        on_values,
        "poly polyadd polyder polydiv polyfit polyint polymul polysub polyval roots vander "
        "polynomial.polynomial.polygrid2d polynomial.polynomial.polyval2d",
    ),
    Row("wide", "ranges between values", on_values, "geomspace linspace logspace"),
    Row(
        "wide",
        "results that may be complex",
        on_values,
        "sort_complex lib.scimath.arccos lib.scimath.arcsin lib.scimath.arctanh lib.scimath.log lib.scimath.log10 "
        "lib.scimath.log2 lib.scimath.logn lib.scimath.power lib.scimath.sqrt fft.fft fft.fft2 fft.fftn fft.hfft "
        "fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.irfft fft.irfft2 fft.irfftn fft.rfft fft.rfft2 fft.rfftn",
    ),
    Row("wide", "the values as text", on_values, "array2string savetxt"),
    Row(
        "refused", "use lpnum.save(file, x), which keeps format, scale and offset", None, "save savez savez_compressed"
    ),
    Row("refused", "older NumPy only; use np.isin", None, "in1d"),
    Row(
        "refused",
        "arguments are positions or bits: " + FLOATS_OR_CODES,
        None,
        "ix_ packbits ravel_multi_index unpackbits unravel_index",
    ),
    Row(
        "refused",
        "no numbers: " + FLOATS_OR_CODES,
        None,
        "busday_count busday_offset datetime_as_string is_busday char.* lib.recfunctions.* strings.*",
    ),
)


def _by_name() -> dict[str, Row]:
    return {name: row for row in TABLE for name in row.names.split()}


ROWS = _by_name()
_CREATED = next(row for row in TABLE if row.what.startswith("with like=x"))


def key(func: Any) -> str:
    """Name of a function in the table: ``linalg.norm``.

    Modules of NumPy before 2.1 say where the function is defined: ``numpy.lib._scimath_impl``.
    """
    return re.sub(r"\b_(\w+)_impl\.", r"\1.", f"{func.__module__}.{func.__name__}".removeprefix("numpy."))


@lru_cache(maxsize=1024)
def row_of(func: Any) -> Row | None:
    """The row of a function, None if it stands in none."""
    name = key(func)
    return ROWS.get(name) or ROWS.get(name.rpartition(".")[0] + ".*")


def dispatch(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: LPArray | None = None) -> Any:
    """``LPArray.__array_function__``; `like` is the array on which it was called."""
    if not all(issubclass(t, LPArray | np.ndarray) for t in types):
        return NotImplemented
    row = row_of(func)
    if row is None:
        raise refuse(func)
    if row is _CREATED:
        return created(func, args, kwargs, like)
    if row.rule is None:
        raise refuse(func, re.split("[:;] ", row.what)[-1])
    return row.rule(func, args, kwargs)
