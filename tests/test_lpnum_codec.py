"""Rounding onto codes: every kernel, mode, policy and layout against the oracle, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import _reference, testing
from lpnum._core import kernels
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

FORMATS = [lpnum.fixed8, lpnum.ufixed8, lpnum.fixed4, lpnum.ufixed4, lpnum.fixed16, lpnum.ufixed16, lpnum.fixed(11)]
GRIDS = [(1.0, 0.0), (0.5, 0.0), (0.0371, 0.0), (0.0371, 1.3), (-0.02, 0.0), (1e-9, 100.0), (3e200, -1e201)]


def trial_values(fmt, scale, offset, seed):
    """Random values over and beyond the range, every code and midpoint with its neighbours, and special values."""
    rng = np.random.default_rng(seed)
    lo, hi = fmt.code_min, fmt.code_max
    halves = np.arange(lo - 2, hi + 2.5, 0.5)
    halves = halves if halves.size < 3000 else rng.choice(halves, 3000)
    units = np.concatenate(
        [halves, np.nextafter(halves, -np.inf), np.nextafter(halves, np.inf), rng.uniform(1.3 * lo - 1, 1.3 * hi, 2000)]
    )
    return np.concatenate([offset + scale * units, [0.0, -0.0, np.inf, -np.inf, 1e300, -1e300, 5e-324]])


def by_reference(values, fmt, scale, offset, mode, **kwargs):
    return _reference.encode(values, fmt.code_min, fmt.code_max, scale * fmt.unit, offset, mode, **kwargs)


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_codes_equal_the_oracle(fmt, mode, seed, simd_level):
    for scale, offset in GRIDS:
        values = trial_values(fmt, scale, offset, seed)
        for dtype in (np.float64, np.float32):
            with np.errstate(over="ignore"):
                x = values.astype(dtype)
            out = np.empty(x.shape, fmt.storage)
            operand = (out, scale * fmt.unit, offset, fmt.kernel)
            status, _ = kernels.elementwise(0, x, None, operand, ROUNDING_MODES.index(mode), 0, 16, 5, 9)
            assert status == 0
            np.testing.assert_array_equal(out, by_reference(x, fmt, scale, offset, mode, seed=5, stream=9))


@pytest.mark.parametrize("random_bits", [1, 3, 8, 16, 17, 24, 32])
def test_stochastic_rounding_with_any_number_of_bits_equals_the_oracle(random_bits, simd_level):
    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).uniform(-140, 140, 3001).astype(dtype)
        codes = lpnum.encode(x, lpnum.fixed8, rounding="stochastic", rng=CounterRNG(3, 4), random_bits=random_bits)
        expected = by_reference(x, lpnum.fixed8, 1.0, 0.0, "stochastic", seed=3, stream=4, random_bits=random_bits)
        np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("fmt", [lpnum.fixed8, lpnum.ufixed4, lpnum.fixed16], ids=lambda f: f.name)
def test_wrap_keeps_the_low_bits(fmt, mode, simd_level):
    x = np.random.default_rng(1).uniform(-3e5, 3e5, 1000)
    codes = lpnum.encode(x, fmt, rounding=mode, overflow="wrap", rng=CounterRNG(1, 2))
    np.testing.assert_array_equal(codes, by_reference(x, fmt, 1.0, 0.0, mode, overflow="wrap", seed=1, stream=2))
    assert lpnum.encode([128.0], lpnum.fixed8, overflow="wrap")[0] == -128


def test_float32_fast_path_decides_close_calls_as_float64_does(simd_level):
    # Values within a few float32 ulps of a midpoint, on a step that float32 cannot invert exactly.
    step = 0.0371
    middle = ((np.arange(-128, 128) + 0.5) * step).astype(np.float32)
    x = middle.copy()
    rows = [middle]
    for direction in (-np.inf, np.inf):
        x = middle
        for _ in range(8):
            x = np.nextafter(x, np.float32(direction))
            rows.append(x)
    x = np.tile(np.concatenate(rows), 4)
    q = lpnum.array(x, dtype=lpnum.fixed8, scale=step)
    np.testing.assert_array_equal(q.codes, by_reference(x, lpnum.fixed8, step, 0.0, "nearest-even"))


def test_decode_gives_the_value_of_every_code(simd_level):
    for fmt in (*FORMATS, lpnum.fixed(8, frac=4), lpnum.fixed(16, frac=20, signed=False)):
        for scale, offset in ((1.0, 0.0), (0.3, 0.7), (-2.0, 1e6)):
            x = lpnum.from_codes(fmt.all_codes(), fmt, scale, offset)
            expected = _reference.decode(fmt.all_codes(), scale * fmt.unit, offset)
            np.testing.assert_array_equal(x.dequantize(np.float64), expected)
            np.testing.assert_array_equal(x.dequantize(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.bits <= 11], ids=lambda f: f.name)
def test_every_code_survives_decode_and_encode(fmt, simd_level):
    np.testing.assert_array_equal(lpnum.encode(lpnum.decode(fmt.all_codes(), fmt), fmt), fmt.all_codes())


@given(
    values=hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6), elements=st.floats(-200, 200)
    ),
    data=st.data(),
)
def test_any_layout_gives_the_codes_of_the_contiguous_copy(values, data):
    axes = data.draw(st.permutations(range(values.ndim)))
    strided = values.transpose(axes)[(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))),) * values.ndim]
    for mode in ("nearest-even", "stochastic"):
        one, two = (
            lpnum.encode(x, lpnum.fixed8, rounding=mode, rng=CounterRNG(1))
            for x in (strided, np.ascontiguousarray(strided))
        )
        np.testing.assert_array_equal(one, two)


@given(
    fmt=testing.formats().filter(lambda f: f.signed or isinstance(f, lpnum.FixedFormat)),
    values=hnp.arrays(np.float64, 20, elements=st.floats(-1e5, 1e5)),
)
def test_round_to_is_decode_of_encode_and_idempotent(fmt, values):
    rounded = lpnum.round_to(values, fmt)
    np.testing.assert_array_equal(rounded, lpnum.decode(lpnum.encode(values, fmt), fmt, np.float64))
    np.testing.assert_array_equal(lpnum.round_to(rounded, fmt), rounded)


def test_stochastic_rounding_is_unbiased_in_every_gap_of_the_8_bit_grid(simd_level, seed):
    """Mean of 4096 draws at one fraction per gap.

    Under a fair rounding each z is N(0, 1) up to the lattice of a binomial: the sum of squares of 255 of them exceeds
    its bound, and their mean its own, each with probability below 1e-6.
    """
    draws, rng = 4096, np.random.default_rng(100 + seed)
    fractions = rng.uniform(0.05, 0.95, 255)
    values = np.arange(-128, 127) + fractions
    for dtype in (np.float32, np.float64):
        x = np.broadcast_to(values.astype(dtype), (draws, 255))
        codes = lpnum.encode(x, lpnum.fixed8, rounding="stochastic", rng=seed)
        exact = values.astype(dtype).astype(np.float64)
        up = codes - np.floor(exact)
        assert ((up == 0) | (up == 1)).all()
        p = exact - np.floor(exact)
        z = (up.mean(axis=0) - p) / np.sqrt(p * (1 - p) / draws)
        assert (z**2).sum() < 255 + 5.2 * np.sqrt(2 * 255)
        assert abs(z.mean()) < 4.9 / np.sqrt(255)


def test_stochastic_rounding_probability_is_the_fraction_to_the_stated_bits():
    # With k bits there are 2**k equally likely words: count them all.
    for bits in (1, 2, 4):
        for fraction in np.linspace(0, 0.999, 41):
            thresholds = 1 - (np.arange(2**bits) + 0.5) / 2**bits
            up = _reference.round_to_integer(np.full(2**bits, fraction), "stochastic", thresholds).mean()
            assert abs(up - fraction) <= 2.0 ** -(bits + 1)
    on_grid = lpnum.encode(np.arange(-128.0, 128), lpnum.fixed8, rounding="stochastic", rng=0)
    np.testing.assert_array_equal(on_grid, np.arange(-128, 128))


def test_same_seed_same_codes_at_every_level_and_from_run_to_run():
    x = np.random.default_rng(0).normal(0, 40, 10_007)
    results = {}
    for level in kernels.simd_levels():
        kernels.set_simd_level(level)
        for dtype in (np.float32, np.float64):
            key = np.dtype(dtype).name
            codes = lpnum.encode(x.astype(dtype), lpnum.fixed8, rounding="stochastic", rng=42).tobytes()
            assert results.setdefault(key, codes) == codes
    kernels.set_simd_level(kernels.simd_levels()[-1])
    script = (
        "import numpy as np, lpnum, hashlib;"
        "x = np.random.default_rng(0).normal(0, 40, 10_007);"
        "print(hashlib.sha256(lpnum.encode(x, lpnum.fixed8, rounding='stochastic', rng=42).tobytes()).hexdigest())"
    )
    for level in kernels.simd_levels():
        env = {**os.environ, "LPNUM_SIMD": level}
        out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        import hashlib

        assert out.stdout.strip() == hashlib.sha256(results["float64"]).hexdigest()


def test_environment_variable_chooses_the_level_and_refuses_others():
    script = "import lpnum; lpnum.show_config()"
    env = {**os.environ, "LPNUM_SIMD": "baseline"}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert "simd level             baseline" in out
    env["LPNUM_SIMD"] = "neon"
    failed = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert "unknown SIMD level 'neon'" in failed.stderr


# ---- policies and bad input ----------------------------------------------------------------------------------------


def test_nan_is_an_error_that_counts_and_locates_it(simd_level):
    for dtype in (np.float32, np.float64, np.float16):
        x = np.ones((4, 100), dtype)
        x[2, 7] = x[3, 1] = np.nan
        with pytest.raises(ValueError, match=r"2 of 400 values are not numbers \(first at index \(2, 7\)\)"):
            lpnum.encode(x, lpnum.fixed8)
        codes = lpnum.encode(x, lpnum.fixed8, nan=5.0)
        assert codes[2, 7] == codes[3, 1] == 5
        assert codes.sum() == 398 + 10


def test_infinity_clamps_or_is_an_overflow(simd_level):
    x = np.array([np.inf, -np.inf, 0.0] * 40, np.float32)
    np.testing.assert_array_equal(lpnum.encode(x, lpnum.fixed8)[:3], [127, -128, 0])
    with pytest.raises(OverflowError, match=r"80 of 120 values are beyond the range .* \(first at index 0\)"):
        lpnum.encode(x, lpnum.fixed8, overflow="error")
    with pytest.raises(ValueError, match="not numbers"):
        lpnum.encode(x, lpnum.fixed8, overflow="wrap")


def test_overflow_error_looks_at_the_rounded_value():
    assert lpnum.encode([127.4, -128.5], lpnum.fixed8, overflow="error").tolist() == [127, -128]
    with pytest.raises(OverflowError):
        lpnum.encode([127.5], lpnum.fixed8, overflow="error")


def test_events_are_counted_without_changing_codes(simd_level):
    x = np.array([0.25, 1.0, 300.0, -0.25, 3.5, -200.0] * 50, np.float32)
    plain = lpnum.encode(x, lpnum.fixed8)
    with lpnum.count_events() as events:
        np.testing.assert_array_equal(lpnum.encode(x, lpnum.fixed8), plain)
    assert events == lpnum.rounding.Events(total=300, overflow=100, underflow=100, inexact=150, invalid=0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: lpnum.encode([1.0], "fixed9"), ValueError, "did you mean"),
        (lambda: lpnum.encode([1.0], np.int8), TypeError, "format or its name"),
        (lambda: lpnum.encode([1 + 2j], lpnum.fixed8), TypeError, "real numbers"),
        (lambda: lpnum.encode(["a"], lpnum.fixed8), TypeError, "real numbers"),
        (lambda: lpnum.encode([1.0], lpnum.fixed8, rounding="nearest"), ValueError, "did you mean 'nearest-"),
        (lambda: lpnum.encode([1.0], lpnum.fixed8, overflow="saturate"), ValueError, "'clamp'"),
        (lambda: lpnum.encode([1.0], lpnum.fixed8, random_bits=33), ValueError, "1 to 32"),
        (lambda: lpnum.encode([1.0], lpnum.fixed8, rng="x"), TypeError, "CounterRNG"),
        (lambda: lpnum.encode([1.0], lpnum.fixed8, nan=np.inf), ValueError, "finite"),
        (lambda: lpnum.decode([200], lpnum.fixed8), ValueError, "codes from -128 to 127"),
        (lambda: lpnum.decode([1.5], lpnum.fixed8), TypeError, "integers"),
        (lambda: lpnum.fixed(1), ValueError, "2 to 16"),
        (lambda: lpnum.fixed(17), ValueError, "2 to 16"),
        (lambda: lpnum.fixed(8, frac=1.5), ValueError, "frac"),
        (lambda: CounterRNG(-1), ValueError, "0 to 2"),
        (lambda: CounterRNG(0).words(3, bits=8), ValueError, "16 or 32"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_kernels_refuse_what_they_do_not_know():
    q = np.zeros(4, np.int8)
    good = (q, 1.0, 0.0, lpnum.fixed8.kernel)
    for bad in (np.zeros(4, np.int32), np.zeros(4, complex)):
        with pytest.raises((TypeError, ValueError)):
            kernels.elementwise(0, bad, None, good)
    with pytest.raises(ValueError, match="broadcast"):
        kernels.elementwise(0, np.zeros(3), None, good)
    readonly = np.zeros(4, np.int8)
    readonly.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        kernels.elementwise(0, np.zeros(4), None, (readonly, 1.0, 0.0, lpnum.fixed8.kernel))
