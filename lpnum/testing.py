"""Hypothesis strategies for formats and arrays, and an assertion, for tests of code that uses lpnum.

Needs hypothesis: ``pip install "lpnum[test]"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum.array import LPArray
from lpnum.formats import FixedFormat

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["assert_same", "formats", "lp_arrays"]


def _hypothesis() -> Any:
    try:
        import hypothesis.extra.numpy
        import hypothesis.strategies as st
    except ImportError as error:
        raise ImportError('lpnum.testing needs hypothesis: pip install "lpnum[test]"') from error
    return st, hypothesis.extra.numpy


def formats(*, max_bits: int = 16) -> SearchStrategy[FixedFormat]:
    """Strategy of fixed-point formats: every width, signedness and a range of binary points."""
    st, _ = _hypothesis()
    return st.builds(FixedFormat, st.integers(2, max_bits), st.none() | st.integers(-4, 20), st.booleans())


def lp_arrays(
    fmt: FixedFormat | SearchStrategy[FixedFormat] | None = None,
    shape: Any = None,
    *,
    metadata: tuple[str, ...] = ("scalar", "axis", "element"),
) -> SearchStrategy[LPArray]:
    """Strategy of arrays with any codes, and scales and offsets per array, per axis or per element.

    Parameters
    ----------
    fmt : format or strategy of formats, optional
    shape : tuple of int or strategy, optional
        Default: up to 3 dimensions of up to 5, empty ones too.
    metadata : tuple of {"scalar", "axis", "element"}
        Which layouts of scale and offset may occur.
    """
    st, hnp = _hypothesis()

    def build(draw: Any) -> LPArray:
        chosen = formats() if fmt is None else fmt
        f = chosen if isinstance(chosen, FixedFormat) else draw(chosen)
        dims = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5) if shape is None else shape
        dims = dims if isinstance(dims, tuple) else draw(dims)
        codes = draw(hnp.arrays(f.storage, dims, elements=st.integers(f.code_min, f.code_max)))

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


def assert_same(actual: LPArray, desired: LPArray) -> None:
    """Raise AssertionError unless both arrays have equal codes, format, scale and offset."""
    assert isinstance(actual, LPArray), f"not an LPArray: {type(actual).__name__}"
    assert actual.format == desired.format, f"formats {actual.format!r} and {desired.format!r}"
    np.testing.assert_array_equal(actual.codes, desired.codes)
    for name in ("scale", "offset"):
        a, b = (np.broadcast_to(getattr(x, name), x.shape) for x in (actual, desired))
        np.testing.assert_array_equal(a, b, err_msg=name)
