"""Arithmetic, ufuncs and casts of 8-bit floats: every result is the float64 result, rounded once.

All 65,536 pairs of codes and all 256 codes, NaN and infinities included, at every SIMD level, with arrays on each side
of the sizes at which tables take over.
"""

from __future__ import annotations

import float_cases as cases
import numpy as np
import pytest

import lpnum
from lpnum import _tables
from lpnum._core import kernels
from lpnum._reference import FloatSearch
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

FORMATS = [lpnum.float8_e4m3fn, lpnum.float8_e5m2, lpnum.float8_e4m3fnuz]
ARITHMETIC = [np.add, np.subtract, np.multiply, np.divide]
OTHERS = [np.minimum, np.maximum, np.fmin, np.fmax, np.hypot, np.power]
COMPARISONS = [np.less, np.less_equal, np.equal, np.not_equal, np.greater, np.greater_equal]
DETERMINISTIC = [mode for mode in ROUNDING_MODES if mode != "stochastic"]


def ufuncs(nin: int, result: str) -> list[np.ufunc]:
    """NumPy's ufuncs with a float64 loop."""
    loop = "d" * nin + "->" + result
    every = {u for u in vars(np).values() if isinstance(u, np.ufunc) and u.signature is None and loop in u.types}
    return sorted(every, key=lambda u: u.__name__)


UNARY, TESTS = ufuncs(1, "d"), ufuncs(1, "?")
KEEP_CODES = {
    np.negative,
    np.positive,
    np.conjugate,
    np.degrees,
    np.rad2deg,
    np.radians,
    np.deg2rad,
}  # exact on another grid, or a copy: codes, NaN among them, stay


@pytest.fixture(autouse=True)
def _every_level_is_restored():
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    with np.errstate(all="ignore"):
        yield
    kernels.set_simd_level(before)


def every_level():
    for level in kernels.simd_levels():
        kernels.set_simd_level(level)
        yield level


def pairs(fmt):
    """Both codes of all pairs."""
    codes = fmt.all_codes()
    return np.repeat(codes, codes.size), np.tile(codes, codes.size)


def rounded(fmt, values, mode="nearest-even", policy="clamp", stream=None):
    """Codes of float64 values by the oracle."""
    thresholds = None if stream is None else cases.stochastic_thresholds(stream, values.size)
    return FloatSearch(fmt, values).codes(mode, policy, thresholds)


def assert_result(result, fmt, expected, values, what):
    """On the grid of the inputs, with these codes."""
    assert result.format == fmt, what
    assert (result.scale, result.offset) == (1.0, 0.0), what
    cases.assert_codes(result.codes.ravel(), expected, values, what)


def array(codes, fmt, policy, **kwargs):
    """An array with this policy of its own; None leaves it to the default, "clamp", and small arrays to their plans."""
    return lpnum.LPArray(codes, fmt, overflow=policy, **kwargs)


# ---- pairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", [*ARITHMETIC, *OTHERS], ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_all_pairs_are_the_float64_result_rounded_once(fmt, ufunc):
    a, b = pairs(fmt)
    values = ufunc(fmt.code_values[a], fmt.code_values[b])
    small = _tables.SMALLEST_PAIRS // 4
    assert small < _tables.SMALLEST_PAIRS <= a.size
    for policy in (None, "clamp", "ieee"):
        expected = rounded(fmt, values, policy=policy or "clamp")
        for level in every_level():
            what = f"{ufunc.__name__}, {fmt!r}, {policy}, {level}"
            x, y = array(a, fmt, policy), array(b, fmt, policy)
            assert_result(ufunc(x, y), fmt, expected, values, f"{what}, large")
            for i in range(0, a.size, small):
                part = slice(i, i + small)
                assert_result(ufunc(x[part], y[part]), fmt, expected[part], values[part], f"{what}, small")
            square = (fmt.all_codes().size,) * 2
            outer = ufunc(x.reshape(square)[:, :1], y.reshape(square)[:1])
            assert_result(outer, fmt, expected, values, f"{what}, broadcast")
            transposed = ufunc(x.reshape(square).T, y.reshape(square).T)
            assert_result(transposed.T, fmt, expected, values, f"{what}, transposed")
            out = array(np.zeros_like(a), fmt, policy)
            assert ufunc(x, y, out=out) is out
            assert_result(out, fmt, expected, values, f"{what}, out")


@pytest.mark.parametrize("ufunc", ARITHMETIC, ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_arithmetic_is_rounded_once_in_every_mode(fmt, ufunc):
    a, b = pairs(fmt)
    values = ufunc(fmt.code_values[a], fmt.code_values[b])
    for mode in ROUNDING_MODES:
        for policy in ("clamp", "ieee"):
            stream = CounterRNG(4, 0) if mode == "stochastic" else None
            expected = rounded(fmt, values, mode, policy, stream)
            for level in every_level():
                what = f"{ufunc.__name__}, {fmt!r}, {mode}, {policy}, {level}"
                with lpnum.context(rounding=mode, rng=CounterRNG(4, 0)):
                    result = ufunc(array(a, fmt, policy), array(b, fmt, policy))
                assert_result(result, fmt, expected, values, what)
                with lpnum.context(rounding=mode, rng=CounterRNG(4, 0)):
                    few = ufunc(array(a[:10], fmt, policy), array(b[:10], fmt, policy))
                assert_result(few, fmt, expected[:10], values[:10], f"{what}, 10 elements")


@pytest.mark.parametrize("ufunc", ARITHMETIC, ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_few_elements_give_the_bits_of_many(fmt, ufunc):
    """The path of small arrays: 8 elements at a time, a sample of all pairs."""
    a, b = pairs(fmt)
    for policy in (None, "ieee"):
        whole = ufunc(array(a, fmt, policy), array(b, fmt, policy)).codes
        for i in range(0, a.size, 8 * 61):
            few = ufunc(array(a[i : i + 8], fmt, policy), array(b[i : i + 8], fmt, policy))
            np.testing.assert_array_equal(few.codes, whole[i : i + 8])


@pytest.mark.parametrize("ufunc", ARITHMETIC, ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_overflow_in_arithmetic_is_an_error_that_counts_if_asked_for(fmt, ufunc):
    a, b = pairs(fmt)
    values = ufunc(fmt.code_values[a], fmt.code_values[b])
    refused = rounded(fmt, values, policy="error") == FloatSearch.ERROR
    first = np.flatnonzero(refused)[0]
    for _ in every_level():
        with pytest.raises(OverflowError, match=rf"{refused.sum()} of {a.size} values .*index {first}\b"):
            ufunc(array(a, fmt, "error"), array(b, fmt, "error"))
        result = ufunc(array(a[~refused], fmt, "error"), array(b[~refused], fmt, "error"))
        np.testing.assert_array_equal(result.codes, rounded(fmt, values[~refused]))


@pytest.mark.parametrize("ufunc", COMPARISONS, ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_all_pairs_compare_as_their_values(fmt, ufunc):
    a, b = pairs(fmt)
    expected = ufunc(fmt.code_values[a], fmt.code_values[b])
    for _ in every_level():
        for size in (a.size, 1000, 10):
            result = ufunc(array(a[-size:], fmt, "clamp"), array(b[-size:], fmt, "clamp"))
            assert type(result) is np.ndarray
            np.testing.assert_array_equal(result, expected[-size:])


@pytest.mark.slow
@pytest.mark.parametrize("ufunc", ufuncs(2, "d"), ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_every_binary_ufunc_of_numpy_is_rounded_once(fmt, ufunc):
    a, b = pairs(fmt)
    values = ufunc(fmt.code_values[a], fmt.code_values[b])
    for policy in ("clamp", "ieee"):
        for mode in DETERMINISTIC:
            expected = rounded(fmt, values, mode, policy)
            with lpnum.context(rounding=mode):
                result = ufunc(array(a, fmt, policy), array(b, fmt, policy))
            assert_result(result, fmt, expected, values, f"{ufunc.__name__}, {fmt!r}, {mode}, {policy}")


# ---- functions of one array ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", UNARY, ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_all_codes_through_every_unary_ufunc_are_rounded_once(fmt, ufunc):
    codes = fmt.all_codes()
    values = ufunc(fmt.code_values)
    for mode in ROUNDING_MODES:
        for policy in ("clamp", "ieee"):
            stream = CounterRNG(4, 0) if mode == "stochastic" else None
            expected = rounded(fmt, values, mode, policy, stream)
            for level in every_level():
                what = f"{ufunc.__name__}, {fmt!r}, {mode}, {policy}, {level}"
                with lpnum.context(rounding=mode, rng=CounterRNG(4, 0)):
                    result = ufunc(array(codes, fmt, policy))
                if ufunc in KEEP_CODES:
                    np.testing.assert_array_equal(result.dequantize(np.float64), values)
                    np.testing.assert_array_equal(result.codes, codes)
                    continue
                assert_result(result, fmt, expected, values, what)
                if mode != "stochastic":
                    with lpnum.context(rounding=mode):
                        large = ufunc(array(np.tile(codes, 100), fmt, policy)[::-1])
                    assert_result(large, fmt, np.tile(expected, 100)[::-1], np.tile(values, 100)[::-1], what)


@pytest.mark.parametrize("ufunc", TESTS, ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_tests_of_one_array_are_those_of_the_values(fmt, ufunc):
    for _ in every_level():
        result = ufunc(array(fmt.all_codes(), fmt, "clamp"))
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, ufunc(fmt.code_values))


def test_every_unary_ufunc_of_numpy_is_among_them():
    assert len(UNARY) + len(TESTS) >= 43
    assert {np.exp, np.sqrt, np.tanh, np.spacing, np.reciprocal, np.cbrt} <= set(UNARY)


# ---- casts ---------------------------------------------------------------------------------------------------------


IN_MAKE_TEST = (*FORMATS, lpnum.float8_e8m0fnu, lpnum.float4_e2m1fn)
SOURCES = [f if f in IN_MAKE_TEST else pytest.param(f, marks=pytest.mark.slow) for f in cases.NAMED.values()]


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_casts_between_any_two_named_formats_round_once(source):
    few = source.bits > 8
    for target in cases.NAMED.values():
        codes = source.all_codes()
        values = source.code_values
        for mode in ("nearest-even", "towards-negative", "stochastic"):
            for policy in ("clamp", "ieee"):
                stream = CounterRNG(4, 0) if mode == "stochastic" else None
                expected = rounded(target, values, mode, policy, stream)
                accepted = expected != FloatSearch.ERROR
                if not accepted.all() and source != target:
                    with pytest.raises(ValueError, match=rf"{(~accepted).sum()} of {codes.size} values are"):
                        array(codes, source, policy, rounding=mode).astype(target)
                    if stream is not None:  # words belong to places
                        continue
                if source == target:
                    expected = codes
                    accepted[:] = True
                x = codes[accepted]
                copies = 1 if few or stream is not None else 1 + 2 * _tables.SMALLEST_CAST // max(x.size, 1)
                for level in every_level():
                    what = f"{source!r} to {target!r}, {mode}, {policy}, {level}"
                    for n in {1, copies}:
                        given = array(np.tile(x, n), source, policy, rounding=mode, rng=CounterRNG(4, 0))
                        result = given.astype(target)
                        desired = np.tile(expected[accepted], n)
                        assert_result(result, target, desired, np.tile(values[accepted], n), what)
