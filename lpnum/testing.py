"""Hypothesis strategies for formats and arrays, and an assertion, for tests of code that uses lpnum.

Needs hypothesis: ``pip install "lpnum[test]"``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum.array import LPArray
from lpnum.float_formats import SPECIALS
from lpnum.formats import FixedFormat, FloatFormat, Format, named

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["assert_same", "codes", "fixed_formats", "float_formats", "formats", "lp_arrays", "values_near"]


def _hypothesis() -> Any:
    try:
        import hypothesis.extra.numpy
        import hypothesis.strategies as st
    except ImportError as error:
        raise ImportError('lpnum.testing needs hypothesis: pip install "lpnum[test]"') from error
    return st, hypothesis.extra.numpy


def formats(*, max_bits: int = 16) -> SearchStrategy[Format]:
    """Strategy of formats of any kind: `fixed_formats` and `float_formats`."""
    return fixed_formats(max_bits=max_bits) | float_formats(max_bits=max_bits)


def fixed_formats(*, max_bits: int = 16) -> SearchStrategy[FixedFormat]:
    """Strategy of fixed-point formats: every width, signedness and a range of binary points."""
    st, _ = _hypothesis()
    return st.builds(FixedFormat, st.integers(2, max_bits), st.none() | st.integers(-4, 20), st.booleans())


def float_formats(*, min_bits: int = 3, max_bits: int = 16, max_exponent: int = 1022) -> SearchStrategy[FloatFormat]:
    """Strategy of float formats: named ones, and any fields, bias, special values and sign that make a format.

    Parameters
    ----------
    min_bits, max_bits : int
        Width of a code, 3 to 16.
    max_exponent : int
        Largest magnitude of an exponent among the values; 1022 is what float64 holds, 126 keeps to float32.
    """
    st, _ = _hypothesis()

    def build(draw: Any) -> FloatFormat | None:
        signed = draw(st.booleans())
        field_bits = draw(st.integers(min_bits, max_bits)) - signed
        exponent_bits = draw(st.integers(0, min(field_bits, 10)))
        mantissa_bits = field_bits - exponent_bits
        span = (1 << exponent_bits) + mantissa_bits
        usual = (1 << exponent_bits) // 2
        low, high = max(span - max_exponent, -max_exponent), max_exponent - mantissa_bits
        near = st.integers(max(usual - 3, low), min(usual + 3, high)) if low <= usual <= high else st.nothing()
        bias = draw(near | st.integers(low, high)) if low <= high else usual
        without_zero = not signed and not mantissa_bits and draw(st.booleans())
        try:
            return FloatFormat(
                exponent_bits, mantissa_bits, bias, draw(st.sampled_from(SPECIALS)), signed, not without_zero
            )
        except ValueError:  # the special values leave no number, or the exponents leave the range
            return None

    some = [f for f in named().values() if isinstance(f, FloatFormat) and min_bits <= f.bits <= max_bits]
    some = [f for f in some if f.min_exponent - f.mantissa_bits >= -max_exponent and f.max_exponent <= max_exponent]
    built: SearchStrategy[Any] = st.composite(build)().filter(lambda f: f is not None)
    return st.sampled_from(some) | built if some else built


def lp_arrays(
    fmt: Format | SearchStrategy[Any] | None = None,
    shape: Any = None,
    *,
    metadata: tuple[str, ...] = ("scalar", "axis", "element"),
    finite: bool = True,
) -> SearchStrategy[LPArray]:
    """Strategy of arrays with any codes, and scales and offsets per array, per axis or per element.

    Parameters
    ----------
    fmt : format or strategy of formats, optional
        Default: `formats`.
    shape : tuple of int or strategy, optional
        Default: up to 3 dimensions of up to 5, empty ones too.
    metadata : tuple of {"scalar", "axis", "element"}
        Which layouts of scale and offset may occur.
    finite : bool
        Without the codes of NaN and infinity.
    """
    st, hnp = _hypothesis()

    def build(draw: Any) -> LPArray:
        chosen = formats() if fmt is None else fmt
        f = chosen if isinstance(chosen, Format) else draw(chosen)
        dims = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5) if shape is None else shape
        dims = dims if isinstance(dims, tuple) else draw(dims)
        elements = st.integers(f.code_min, f.code_max)
        if finite and isinstance(f, FloatFormat):
            elements = elements.filter(lambda code: math.isfinite(f.value(code)))
        codes = draw(hnp.arrays(f.storage, dims, elements=elements))

        def meta(elements: Any) -> Any:
            layout = draw(st.sampled_from(metadata))
            if layout == "scalar" or not dims:
                return draw(elements)
            kept = draw(st.integers(0, len(dims) - 1)) if layout == "axis" else None
            meta_shape = tuple(n if kept in (None, k) else 1 for k, n in enumerate(dims))
            return draw(hnp.arrays(np.float64, meta_shape, elements=elements))

        scale = meta(st.floats(2.0**-20, 2.0**20))
        offset = meta(st.floats(-(2.0**20), 2.0**20))
        return LPArray(codes, f, scale, offset)

    built: SearchStrategy[LPArray] = st.composite(build)()
    return built


def codes(fmt: Format, shape: Any = None) -> SearchStrategy[np.ndarray]:
    """Strategy of arrays of codes, any of the format, those of NaN and infinity included.

    Parameters
    ----------
    fmt : format
    shape : tuple of int or strategy, optional
        Default: up to 3 dimensions of up to 5, empty ones too.
    """
    st, hnp = _hypothesis()
    dims = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5) if shape is None else shape
    drawn: SearchStrategy[np.ndarray] = hnp.arrays(fmt.storage, dims, elements=st.integers(fmt.code_min, fmt.code_max))
    return drawn


def values_near(fmt: Format, scale: float = 1.0, offset: float = 0.0, *, width: int = 64) -> SearchStrategy[float]:
    """Strategy of finite numbers at the places where rounding to a grid changes, and a few anywhere around the grid.

    A place is a value of the grid, the middle between two of them, 0, or the end of the range that rounds to the
    largest value; drawn are the place and its two neighbours among the floats.

    Parameters
    ----------
    fmt : format
    scale, offset : float
        Of the grid.
    width : {32, 64}
        Numbers of float32 or of float64.

    Examples
    --------
    >>> from hypothesis import find
    >>> from lpnum.testing import values_near
    >>> find(values_near(lpnum.fixed4), lambda value: 2.4 < value < 2.6)
    2.5
    """
    st, _ = _hypothesis()
    if width not in (32, 64):
        raise ValueError(f"values_near: width must be 32 or 64, not {width!r}")
    kind = np.dtype(f"f{width // 8}").type
    with np.errstate(over="ignore"):
        grid = np.unique(offset + scale * fmt.code_values[np.isfinite(fmt.code_values)])
        middles = grid[:-1] / 2 + grid[1:] / 2
        first, last = 1.5 * grid[0] - 0.5 * grid[1], 1.5 * grid[-1] - 0.5 * grid[-2]
        places = np.unique(np.concatenate([grid, middles, [0.0, first, last]]).astype(kind))
        places = places[np.isfinite(places)]
        low, high = (float(np.clip(kind(end), np.finfo(kind).min, np.finfo(kind).max)) for end in (2 * first, 2 * last))

    def near(index: int, direction: int) -> float:
        with np.errstate(over="ignore", under="ignore"):
            moved = np.nextafter(places[index], kind(direction * np.inf)) if direction else places[index]
        return float(moved if np.isfinite(moved) else places[index])

    there = st.builds(near, st.integers(0, places.size - 1), st.sampled_from((0, -1, 1)))
    drawn: SearchStrategy[float] = there | st.floats(min(low, high, 0.0), max(low, high, 0.0), width=width)
    return drawn


def assert_same(actual: LPArray, desired: LPArray) -> None:
    """Raise AssertionError unless both arrays have equal codes, format, scale and offset."""
    assert isinstance(actual, LPArray), f"not an LPArray: {type(actual).__name__}"
    assert actual.format == desired.format, f"formats {actual.format!r} and {desired.format!r}"
    np.testing.assert_array_equal(actual.codes, desired.codes)
    for name in ("scale", "offset"):
        a, b = (np.broadcast_to(getattr(x, name), x.shape) for x in (actual, desired))
        np.testing.assert_array_equal(a, b, err_msg=name)
