"""A new float format is its fields and nothing else: any that can be described works in every operation, exactly."""

from __future__ import annotations

import pickle

import float_cases as cases
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import _reference, formats, testing
from lpnum._core import kernels
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

FEW = settings(max_examples=max(10, settings.default.max_examples // 4))  # each example is a whole sweep
SEED = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _level_is_restored():
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    with np.errstate(all="ignore"):
        yield
    kernels.set_simd_level(before)


def any_values(fmt, seed, n=200):
    """Points where decisions change, bit patterns, and values of the size of the format."""
    rng = np.random.default_rng(seed)
    points = rng.choice(cases.points(fmt, limit=64, seed=seed), n)
    patterns = cases.bit_patterns(rng, n // 4, np.float64)
    usual = rng.normal(0, 1, n // 4) * rng.choice(np.abs(fmt.code_values[np.isfinite(fmt.code_values)]), n // 4)
    return np.concatenate([points, patterns, usual, [0.0, -0.0, np.inf, -np.inf, np.nan]])


def values_of(codes, fmt):
    return fmt.code_values[np.asarray(codes, np.int64)]


@FEW
@given(fmt=testing.float_formats(), seed=SEED)
def test_codes_of_any_format_are_exact(fmt, seed):
    x = any_values(fmt, seed)
    for dtype in (np.float64, np.float32):
        cases.assert_encode_is_exact(fmt, x.astype(dtype), seed=seed)


@given(fmt=testing.float_formats())
def test_any_format_decodes_names_and_pickles_itself(fmt):
    codes = np.unique(np.linspace(0, fmt.code_max, 300).astype(np.int64)).astype(fmt.storage)
    exact = np.array([float(_reference.float_value(fmt, int(code))) for code in codes])
    for level in kernels.simd_levels():
        kernels.set_simd_level(level)
        decoded = lpnum.decode(codes, fmt, np.float64)
        np.testing.assert_array_equal(decoded, exact)
        numbers = ~np.isnan(exact)
        np.testing.assert_array_equal(np.signbit(decoded[numbers]), np.signbit(exact[numbers]))
        np.testing.assert_array_equal(lpnum.decode(np.tile(codes, 9), fmt), np.tile(exact, 9).astype(np.float32))
    assert eval(repr(fmt)) == fmt
    assert pickle.loads(pickle.dumps(fmt)) == fmt
    assert hash(pickle.loads(pickle.dumps(fmt))) == hash(fmt)
    assert lpnum.finfo(fmt).max == fmt.max
    assert fmt.storage.itemsize == (1 if fmt.bits <= 8 else 2)


@FEW
@given(fmt=testing.float_formats(), seed=SEED, mode=st.sampled_from(ROUNDING_MODES), ieee=st.booleans())
def test_arithmetic_of_any_format_is_the_float64_result_rounded_once(fmt, seed, mode, ieee):
    policy = "ieee" if ieee else "clamp"
    rng = np.random.default_rng(seed)
    n = int(rng.choice([7, 300, 20_000]))
    a, b = (rng.integers(0, fmt.code_max + 1, n).astype(fmt.storage) for _ in range(2))
    for ufunc in (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.hypot):
        values = ufunc(values_of(a, fmt), values_of(b, fmt))
        thresholds = cases.stochastic_thresholds(CounterRNG(seed, 0), n)
        expected = _reference.FloatSearch(fmt, values).codes(mode, policy, thresholds)
        refused = expected == _reference.FloatSearch.ERROR
        with lpnum.context(rounding=mode, overflow=policy, rng=CounterRNG(seed, 0)):
            x, y = lpnum.LPArray(a, fmt), lpnum.LPArray(b, fmt)
            if refused.any():
                with pytest.raises(ValueError, match=rf"{refused.sum()} of {n} values are"):
                    ufunc(x, y)
                continue
            result = ufunc(x, y)
        assert result.format == fmt
        cases.assert_codes(result.codes, expected, values, f"{ufunc.__name__}, {fmt!r}, {mode}, {policy}")


@FEW
@given(fmt=testing.float_formats(), seed=SEED, mode=st.sampled_from(ROUNDING_MODES))
def test_functions_of_any_format_are_the_float64_result_rounded_once(fmt, seed, mode):
    codes = np.random.default_rng(seed).integers(0, fmt.code_max + 1, 500).astype(fmt.storage)
    for ufunc in (np.sqrt, np.exp, np.tanh, np.abs, np.square, np.rint):
        values = ufunc(values_of(codes, fmt))
        thresholds = cases.stochastic_thresholds(CounterRNG(seed, 0), codes.size)
        expected = _reference.FloatSearch(fmt, values).codes(mode, "ieee", thresholds)
        refused = expected == _reference.FloatSearch.ERROR
        with lpnum.context(rounding=mode, overflow="ieee", rng=CounterRNG(seed, 0)):
            x = lpnum.LPArray(codes, fmt)
            if refused.any():
                with pytest.raises(ValueError, match=r"values are (negative or )?not numbers"):
                    ufunc(x)
                continue
            result = ufunc(x)
        cases.assert_codes(result.codes, expected, values, f"{ufunc.__name__}, {fmt!r}, {mode}")


@FEW
@given(source=testing.float_formats(), target=testing.float_formats(), seed=SEED, mode=st.sampled_from(ROUNDING_MODES))
def test_casts_between_any_two_formats_round_once(source, target, seed, mode):
    assume(source != target)
    rng = np.random.default_rng(seed)
    n = int(rng.choice([50, 5_000]))
    codes = rng.integers(0, source.code_max + 1, n).astype(source.storage)
    values = values_of(codes, source)
    thresholds = cases.stochastic_thresholds(CounterRNG(seed, 0), n)
    expected = _reference.FloatSearch(target, values).codes(mode, "ieee", thresholds)
    refused = expected == _reference.FloatSearch.ERROR
    with lpnum.context(rounding=mode, overflow="ieee", rng=CounterRNG(seed, 0)):
        x = lpnum.LPArray(codes, source)
        if refused.any():
            with pytest.raises(ValueError, match=rf"{refused.sum()} of {n} values are"):
                x.astype(target)
            return
        result = x.astype(target)
    assert (result.format, result.scale, result.offset) == (target, 1.0, 0.0)
    cases.assert_codes(result.codes, expected, values, f"{source!r} to {target!r}, {mode}")


@given(
    fmt=testing.float_formats(max_exponent=200),
    seed=SEED,
    scale=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3),
    offset=st.just(0.0) | st.floats(-1e3, 1e3),
    mode=st.sampled_from(ROUNDING_MODES),
)
def test_scale_and_offset_of_any_format_follow_the_formula(fmt, seed, scale, offset, mode):
    """Code = rounded (value - offset) / scale; a negative scale turns directions around."""
    values = np.random.default_rng(seed).normal(0, abs(scale) * max(1.0, min(fmt.max, 1e6)), 100)
    code_units = (values - offset) / scale if offset else values / scale
    assume(fmt.signed or not (code_units < 0).any())
    direction = {"towards-positive": "towards-negative", "towards-negative": "towards-positive"}
    thresholds = cases.stochastic_thresholds(CounterRNG(seed, 0), values.size)
    turned = direction.get(mode, mode) if scale < 0 else mode
    expected = _reference.FloatSearch(fmt, code_units).codes(turned, "clamp", thresholds)
    x = lpnum.LPArray(np.zeros(100, fmt.storage), fmt, scale, offset, rounding=mode, rng=CounterRNG(seed, 0))
    x[...] = values
    cases.assert_codes(x.codes, expected, code_units, f"{fmt!r}, scale {scale}, offset {offset}, {mode}")
    decoded = scale * values_of(x.codes, fmt)
    np.testing.assert_array_equal(x.dequantize(np.float64), decoded + offset if offset else decoded)


@given(fmt=testing.float_formats(max_exponent=300), codes=hnp.arrays(np.int64, 30, elements=st.integers(0, 2**16 - 1)))
def test_comparisons_extremes_and_sums_of_any_format_are_those_of_the_values(fmt, codes):
    codes = (codes % (fmt.code_max + 1)).astype(fmt.storage)
    codes = codes[np.isfinite(values_of(codes, fmt))]
    assume(codes.size)
    x, v = lpnum.LPArray(codes, fmt), values_of(codes, fmt)
    np.testing.assert_array_equal(x < x[::-1], v < v[::-1])
    np.testing.assert_array_equal(x == x[::-1], v == v[::-1])
    assert (np.max(x), np.min(x)) == (v.max(), v.min())
    assert (int(np.argmax(x)), int(np.argmin(x))) == (int(np.argmax(v)), int(np.argmin(v)))
    np.testing.assert_allclose(x.sum(), v.sum(), rtol=1e-12, atol=1e-12 * np.abs(v).sum())


def test_a_new_name_is_a_row_of_the_table_and_nothing_else(monkeypatch):
    """What the row must give: the name everywhere where a format can be named, and all of the above."""
    fmt = lpnum.minifloat(3, 4, 5, "fn")
    monkeypatch.setitem(formats._NAMED, "float8_e3m4b5fn", fmt)
    monkeypatch.setitem(formats._NAME_OF, fmt, "float8_e3m4b5fn")
    assert lpnum.format("float8_e3m4b5fn") is fmt
    assert repr(fmt) == "lpnum.float8_e3m4b5fn"
    assert lpnum.finfo("float8_e3m4b5fn").max == fmt.max
    assert lpnum.encode([1.0], "float8_e3m4b5fn") == lpnum.encode([1.0], fmt)
    x = lpnum.array([0.1, 0.2], dtype="float8_e3m4b5fn")
    assert x.format is fmt
    assert repr(x).endswith("format=lpnum.float8_e3m4b5fn, scale=1)")
    assert lpnum.ones(2, lpnum.float8_e4m3fn).astype("float8_e3m4b5fn").format == fmt
    assert pickle.loads(pickle.dumps(x)).format == fmt
    with pytest.raises(ValueError, match="did you mean float8_e3m4b5fn"):
        lpnum.format("float8_e3m4b5")
    cases.assert_encode_is_exact(fmt, cases.points(fmt))


def test_the_strategies_reach_every_kind_of_format():
    """Within 400 examples: all special values, unsigned ones, those without zero, and every width."""
    seen = []

    @settings(max_examples=400, derandomize=True, database=None, deadline=None)
    @given(fmt=testing.formats())
    def collect(fmt):
        seen.append(fmt)

    collect()
    floats = [f for f in seen if isinstance(f, lpnum.FloatFormat)]
    assert {f.specials for f in floats} == set(lpnum.float_formats.SPECIALS)
    assert {f.signed for f in floats} == {f.zero for f in floats} == {True, False}
    assert {f.bits for f in floats} == set(range(3, 17))
    assert len(floats) > 100 < len(seen) - len(floats)
