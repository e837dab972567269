"""Large 8-bit arrays take tables or registers; small ones the ordinary path: the same codes."""

from __future__ import annotations

import numpy as np
import pytest

import lpnum
from lpnum import _plans, _tables, codec
from lpnum._core import kernels
from lpnum.formats import FloatFormat, named

EIGHT_BIT = {name: f for name, f in named().items() if isinstance(f, FloatFormat) and f.bits <= 8 and f.zero}


@pytest.mark.parametrize("ufunc", codec.ARITHMETIC, ids=lambda u: u.__name__)
@pytest.mark.parametrize("name", EIGHT_BIT)
def test_large_float_arrays_give_the_codes_of_small_ones(name, ufunc, simd_level):
    fmt = EIGHT_BIT[name]
    a, b = (np.ravel(x).astype(fmt.storage) for x in np.meshgrid(fmt.all_codes(), fmt.all_codes()))
    repeats = -(-_tables.SMALLEST_PAIRS // a.size)
    a, b = (np.append(np.tile(x, repeats), x[:77]) for x in (a, b))
    x, y = lpnum.from_codes(a, fmt), lpnum.from_codes(b, fmt)
    for overflow in ("clamp", "ieee"):
        with lpnum.context(overflow=overflow):
            try:
                pieces = [ufunc(x[i : i + 4096], y[i : i + 4096]).codes for i in range(0, a.size, 4096)]
            except ValueError:  # 0 / 0 and such without a NaN: both paths refuse
                with pytest.raises(ValueError, match="not numbers"):
                    ufunc(x, y)
                continue
            np.testing.assert_array_equal(ufunc(x, y).codes, np.concatenate(pieces))


@pytest.mark.parametrize("ufunc", codec.ARITHMETIC, ids=lambda u: u.__name__)
@pytest.mark.parametrize("name", EIGHT_BIT)
def test_float_arithmetic_runs_in_registers_where_there_are_lanes(name, ufunc, simd_level):
    grid = (EIGHT_BIT[name], 1.0, 0.0)
    if _tables._pairs(ufunc, grid, grid, grid, "nearest-even", "clamp") is None:
        pytest.skip("some pair has no result in the format")
    found = _tables._in_registers(ufunc, grid, grid, grid, "nearest-even", "clamp", kernels.simd_level())
    assert (found is None) == (simd_level == "baseline")


def test_registers_are_taken_only_if_they_give_the_whole_table(monkeypatch):
    grid = (lpnum.float8_e4m3fn, 1.0, 0.0)
    table = _tables._pairs(np.add, grid, grid, grid, "nearest-even", "clamp").copy()
    table[200, 3] ^= 1
    monkeypatch.setattr(_tables, "_pairs", lambda *_: table)
    found = _tables._in_registers.__wrapped__(np.add, grid, grid, grid, "nearest-even", "clamp", kernels.simd_level())
    assert found is None


@pytest.mark.parametrize("ufunc", [np.add, np.subtract])
def test_saturating_sums_of_codes(ufunc, simd_level):
    a, b = (np.ravel(x) for x in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    a, b = (np.append(x, x[:31]) for x in (a, b))
    expected = np.clip(ufunc(a, b), -128, 127)
    fmt = lpnum.fixed(8, frac=3)
    x, y = (lpnum.from_codes(c.astype(np.int8), fmt) for c in (a, b))
    np.testing.assert_array_equal(ufunc(x, y).codes, expected)


@pytest.mark.parametrize("ufunc", codec.ARITHMETIC, ids=lambda u: u.__name__)
@pytest.mark.parametrize("other", [lpnum.fixed8, lpnum.fixed(8, frac=5), lpnum.float8_e4m3fn, lpnum.ufixed16], ids=repr)
@pytest.mark.parametrize("fmt", [lpnum.fixed8, lpnum.fixed(8, frac=5), lpnum.float8_e5m2], ids=repr)
def test_planned_operations_of_small_arrays_are_those_of_the_general_path(fmt, other, ufunc, seed):
    rng = np.random.default_rng(seed)
    for shape in ((), (1,), (10,), (3, 5)):
        x = lpnum.array(rng.standard_normal(shape), dtype=fmt)
        y = lpnum.array(rng.uniform(1, 2, shape), dtype=other)
        for a, b in ((x, y), (y, x), (x, x)):
            for _ in range(2):  # the second time, the plan is there
                results = []
                for policy in ({}, {"rounding": "nearest-even"}):  # any policy said takes the general path
                    with lpnum.context(**policy):
                        try:
                            results.append(ufunc(a, b))
                        except (TypeError, ValueError) as error:
                            results.append(repr(error))
                one, two = results
                if isinstance(one, str):
                    assert one == two
                    continue
                np.testing.assert_array_equal(one.codes, two.codes)
                assert one.codes.dtype == two.codes.dtype
                assert (one.format, one.scale, one.offset, one.dtype) == (two.format, two.scale, two.offset, two.dtype)


def test_results_of_one_plan_do_not_share_what_may_change():
    x, y = (lpnum.array([1.0, 2.0], dtype=lpnum.fixed8) for _ in range(2))
    first, second = x + y, x + y
    scale = second.scale
    first.recenter(scale=0.5)
    first += 1.0
    assert (second.scale, second.offset) == (scale, 0.0)
    np.testing.assert_allclose(np.asarray(second), [2, 4], atol=scale)


def test_plans_are_bounded_and_hold_their_formats(monkeypatch):
    monkeypatch.setattr(_plans, "_MOST_PLANS", 3)
    for frac in range(8):
        fmt = lpnum.fixed(8, frac=frac)
        x = lpnum.from_codes(np.ones(2, np.int8), fmt)
        assert np.asarray(x + x).tolist() == [2.0**-frac * 2] * 2
    assert len(_plans._plans) <= 3
    assert len(_plans._held) == len(_plans._plans)
