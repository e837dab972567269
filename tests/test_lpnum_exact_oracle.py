"""The oracle of float formats, and the properties of the formats, against rational arithmetic on the definition."""

from __future__ import annotations

import math
from fractions import Fraction

import float_cases as cases
import numpy as np
import pytest

from lpnum import _reference
from lpnum.formats import p3109
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

SMALL = [f for f in (*cases.EIGHT_BIT, *cases.MINIFLOATS) if f.bits <= 8]
WIDE = [f for f in (*cases.SIXTEEN_BIT, *cases.MINIFLOATS) if f.bits > 8]
FAMILY = [p3109(k, p, s, e) for k, p, s, e in [(3, 1, True, True), (8, 3, True, False), (8, 8, False, True)]]


def assert_values_follow_the_definition(fmt):
    """Values and derived properties are those that the fields define."""
    exact = [_reference.float_value(fmt, code) for code in range(1 << fmt.bits)]
    for code, (stored, value) in enumerate(zip(fmt.code_values.tolist(), exact, strict=True)):
        if isinstance(value, Fraction):
            assert Fraction(stored) == value, (fmt, code)
            assert math.copysign(1.0, stored) == (-1.0 if value < 0 else 1.0), (fmt, code)
        else:
            assert repr(stored) == repr(value), (fmt, code)  # nan, inf, -inf, -0.0
    finite = [v for v in exact if isinstance(v, Fraction)]
    assert (Fraction(fmt.max), Fraction(fmt.min)) == (max(finite), min(finite))
    assert Fraction(fmt.smallest_subnormal) == min(v for v in finite if v > 0)
    assert [c for c, v in enumerate(exact) if v == math.inf] == ([] if fmt.inf_code is None else [fmt.inf_code])
    assert (fmt.nan_code is None) == (not any(isinstance(v, float) and math.isnan(v) for v in exact))
    assert fmt.has_negative_zero == any(isinstance(v, float) and v == 0 for v in exact)
    assert Fraction(fmt.magnitude(fmt.finite_max_code + 1)) > max(finite)


@pytest.mark.parametrize("fmt", [*SMALL, *FAMILY], ids=repr)
def test_values_of_all_codes_follow_the_definition(fmt):
    assert_values_follow_the_definition(fmt)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", WIDE, ids=repr)
def test_values_of_all_codes_of_wide_formats_follow_the_definition(fmt):
    assert_values_follow_the_definition(fmt)


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(3, 17))
def test_values_of_all_codes_of_p3109_follow_the_definition(bits):
    for fmt in cases.p3109_formats(bits):
        if bits > 12 and fmt.exponent_bits not in (1, 5, 10):  # 65,536 rational numbers take a second
            continue
        assert_values_follow_the_definition(fmt)


def assert_search_decides_as_rational_numbers_do(fmt, x):
    """Every mode and policy; for "stochastic" with 1, 16 and 32 random bits."""
    located = _reference.FloatSearch(fmt, x)
    for mode in ROUNDING_MODES:
        for bits in (1, 16, 32) if mode == "stochastic" else (16,):
            thresholds = cases.stochastic_thresholds(CounterRNG(bits, 1), x.size, bits)
            for policy in cases.POLICIES:
                exact = [
                    _reference.float_code(fmt, value, mode, policy, Fraction(t))
                    for value, t in zip(x.tolist(), thresholds.tolist(), strict=True)
                ]
                expected = np.array([_reference.FloatSearch.ERROR if code is None else code for code in exact])
                cases.assert_codes(located.codes(mode, policy, thresholds), expected, x, f"{fmt!r}, {mode}, {policy}")


@pytest.mark.parametrize("fmt", [*SMALL, *WIDE, *FAMILY], ids=repr)
def test_search_decides_as_rational_numbers_do(fmt, seed):
    rng = np.random.default_rng(seed)
    with np.errstate(invalid="ignore"):
        patterns = [cases.bit_patterns(rng, 10, dtype).astype(np.float64) for dtype in (np.float32, np.float64)]
    x = cases.points(fmt, limit=256, seed=seed)
    x = np.concatenate([rng.choice(x[:-1], 60), *patterns, [0.0, -0.0, np.inf, -np.inf, np.nan]])
    assert_search_decides_as_rational_numbers_do(fmt, x)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [*SMALL, *WIDE, *FAMILY], ids=repr)
def test_search_decides_as_rational_numbers_do_at_all_points(fmt):
    assert_search_decides_as_rational_numbers_do(fmt, cases.points(fmt, limit=256 if fmt.bits <= 8 else 64))


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(3, 9))
def test_search_decides_as_rational_numbers_do_in_all_of_p3109_up_to_8_bits(bits):
    rng = np.random.default_rng(bits)
    for fmt in cases.p3109_formats(bits):
        assert_search_decides_as_rational_numbers_do(fmt, rng.choice(cases.points(fmt), 150))
