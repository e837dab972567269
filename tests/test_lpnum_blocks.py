"""Block formats: scales and elements against an exact oracle and other implementations; special values."""

from __future__ import annotations

import functools
import math
from bisect import bisect_left, bisect_right
from fractions import Fraction

import numpy as np
import pytest
from block_checks import MX, NAMED, OTHERS, RULES, at_every_level, decoded

import lpnum
from lpnum import _reference
from lpnum.block_formats import SCALE_ROUNDINGS, BlockFormat
from lpnum.formats import FixedFormat
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

QUICK = [lpnum.mxfp4.with_scale_rounding(r) for r in SCALE_ROUNDINGS]
QUICK += [lpnum.mxfp8_e4m3.with_scale_rounding(r) for r in ("up", "even")] + [lpnum.nvfp4.with_scale_rounding("up")]


# ---- the oracle ----------------------------------------------------------------------------------------------------


def exact_scale_code(absmax, fmt, tensor_scale):
    """Code of the scale of a block, in rational numbers, by search among all scales."""
    values = fmt.scale_format.code_values
    ladder = sorted((Fraction(v), c) for c, v in enumerate(values) if np.isfinite(v) and v > 0)
    scales = [v for v, _ in ladder]
    top = Fraction(2) ** fmt.element_max_exponent
    reference = Fraction(fmt.element.max) if fmt.scale_rounding in ("up", "nearest-even") else top
    wanted = absmax / (reference * Fraction(tensor_scale))
    if fmt.scale_rounding == "even" and absmax:
        fixed = isinstance(fmt.element, FixedFormat)
        bits = fmt.element.code_max.bit_length() - 1 if fixed else fmt.element.mantissa_bits
        exponent = math.floor(math.log2(wanted))
        while Fraction(2) ** exponent > wanted:  # log2 is rounded
            exponent -= 1
        while Fraction(2) ** (exponent + 1) <= wanted:
            exponent += 1
        step = Fraction(2) ** (exponent - bits)
        wanted = math.floor(wanted / step + Fraction(1, 2)) * step
    below = max(bisect_right(scales, wanted) - 1, 0)
    above = min(bisect_left(scales, wanted), len(scales) - 1)
    if fmt.scale_rounding in ("floor", "even"):
        return ladder[below][1]
    if fmt.scale_rounding in ("up", "ceil"):
        return ladder[above][1]
    if wanted - scales[below] == scales[above] - wanted:
        return ladder[below][1] if ladder[below][1] % 2 == 0 else ladder[above][1]
    return ladder[below][1] if wanted - scales[below] < scales[above] - wanted else ladder[above][1]


def exact_element(value, ladder, rounding, threshold):
    """The element nearest to a rational number; `ladder`: the finite values in order with the parity of their codes."""
    values, even = ladder
    if value >= values[-1]:
        return values[-1]
    if value <= values[0]:
        return values[0]
    at = bisect_right(values, value) - 1
    low, high = values[at], values[at + 1]
    if value == low:
        return low
    fraction = (value - low) / (high - low)
    up = {
        "nearest-even": fraction > Fraction(1, 2) or (fraction == Fraction(1, 2) and even[at + 1]),
        "nearest-away": fraction > Fraction(1, 2) or (fraction == Fraction(1, 2) and value > 0),
        "towards-zero": value < 0,
        "towards-positive": True,
        "towards-negative": False,
        "stochastic": fraction >= threshold,
    }[rounding]
    return high if up else low


@functools.cache
def ladder_of(element):
    codes = {}
    for code, value in zip(element.all_codes().tolist(), element.code_values.tolist(), strict=True):
        if math.isfinite(value) and not (isinstance(element, FixedFormat) and code < -element.code_max):
            codes.setdefault(Fraction(value), code % 2 == 0)
    values = sorted(codes)
    return values, [codes[v] for v in values]


def exact_blocks(x, fmt, tensor_scale, rounding="nearest-even", seed=0):
    """(scale codes, values divided by the tensor scale as fractions) of blocks of finite numbers."""
    ladder, words = ladder_of(fmt.element), _reference.random_words(seed, 0, 0, x.size)
    scale_codes, values = [], []
    for b, block in enumerate(x.reshape(-1, fmt.block).tolist()):
        block = [Fraction(v) for v in block]
        code = exact_scale_code(max(abs(v) for v in block), fmt, tensor_scale)
        scale = Fraction(fmt.scale_format.value(code))
        scale_codes.append(code)
        for i, v in enumerate(block):
            threshold = 1 - (Fraction(int(words[b * fmt.block + i])) + Fraction(1, 2)) / 2**16
            values.append(scale * exact_element(v / (scale * Fraction(tensor_scale)), ladder, rounding, threshold))
    return np.array(scale_codes, np.uint8), values


def trial_blocks(fmt, dtype, tensor_scale, seed):
    """Blocks of many sizes: ordinary, at the ends of the dtype, at decisions of scales, at ties of elements, zeros."""
    rng = np.random.default_rng(seed)
    n, limits = fmt.block, np.finfo(dtype)
    blocks = [np.zeros(n), -np.zeros(n), rng.standard_normal(n), np.full(n, float(limits.max)), np.ones(n)]
    blocks += [
        rng.standard_normal(n) * 2.0**k for k in (-149, -135, -128, -60, 60, 120, limits.minexp, limits.maxexp - 3)
    ]
    tops = [1.0, 1.5, 2 - 2.0**-8, fmt.element.max, 0.75 * fmt.element.max, 1.5 * fmt.element.max]
    tops += [2 - 2.0 ** -(k + 1) for k in range(7)] + [1.25, 1.75 * 1.75]
    if n > 100:
        blocks, tops = blocks[2:6], tops[:3]
    for top in tops:  # the largest magnitude on a decision, and beside it
        for side in (0.0, np.inf, -np.inf):
            block = rng.uniform(-1, 1, n) * top / 3
            edge = dtype(top * tensor_scale)
            block[rng.integers(n)] = edge if side == 0 else np.nextafter(edge, dtype(side))
            blocks.append(block)
    values, _ = ladder_of(fmt.element)
    points = np.array([float(v) for v in values])
    middles = (points[1:] + points[:-1]) / 2
    for scale in rng.choice(fmt.scale_format.code_values[10:120], 1 if n > 100 else 4) * tensor_scale:
        ties = (rng.choice(middles, n) * scale).astype(dtype)
        ties = np.where(rng.random(n) < 0.5, ties, np.nextafter(ties, dtype(0)))
        ties[0] = dtype(fmt.element.max * scale)
        blocks.append(ties)
    with np.errstate(over="ignore", under="ignore"):
        x = np.array(blocks).astype(dtype)
    return np.where(np.isfinite(x), x, dtype(1))


def assert_exact(fmt, dtype, seed, rounding="nearest-even"):
    tensor_scale = float(np.float32(0.0123)) if fmt.tensor_scale else 1.0
    x = trial_blocks(fmt, dtype, tensor_scale, seed)
    scale_codes, values = exact_blocks(x, fmt, tensor_scale, rounding, seed)
    settings = {"scale": tensor_scale, "rounding": rounding}
    for y in at_every_level(lambda: lpnum.array(x, fmt, rng=CounterRNG(seed, 0), **settings)):
        np.testing.assert_array_equal(y.scale_codes.ravel(), scale_codes)
        elements = decoded(y).ravel()
        products = elements * np.repeat(y.scales.ravel(), fmt.block)  # exact in float64
        assert [Fraction(v) for v in products.tolist()] == values
        if getattr(fmt.element, "has_negative_zero", False):
            zero = elements == 0
            np.testing.assert_array_equal(np.signbit(elements[zero]), np.signbit(x.ravel()[zero]))


def slow_unless(quick, values):
    return [v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", slow_unless([*NAMED.values(), *OTHERS, *QUICK], RULES), ids=repr)
def test_scales_and_elements_are_exact(fmt, dtype, seed):
    assert_exact(fmt, dtype, seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", slow_unless(["towards-positive", "stochastic"], ROUNDING_MODES[1:]))
@pytest.mark.parametrize("fmt", slow_unless([lpnum.mxint8, lpnum.nvfp4], NAMED.values()), ids=repr)
def test_every_rounding_mode_is_exact(fmt, rounding, dtype, seed):
    assert_exact(fmt, dtype, seed, rounding)


@pytest.mark.parametrize("fmt", [*NAMED.values(), *OTHERS], ids=repr)
def test_values_are_decoded_exactly_and_rounded_once(fmt, seed, simd_level):
    rng = np.random.default_rng(seed)
    blocks = 9000 // fmt.block + 3
    codes = rng.integers(0, 256, blocks * fmt.block_bytes, np.uint8)
    if not fmt.packed:
        codes &= (1 << fmt.bits) - 1
        if isinstance(fmt.element, FixedFormat) and fmt.bits < 8:
            codes = (
                rng.integers(fmt.element.code_min, fmt.element.code_max + 1, codes.size).astype(np.int8).view(np.uint8)
            )
    scales = rng.integers(1, fmt.scale_format.code_max + 1, blocks).astype(np.uint8)
    y = lpnum.BlockArray(codes, scales, fmt, tensor_scale=0.1 if fmt.tensor_scale else 1.0)
    elements = decoded(y).reshape(blocks, -1)
    with np.errstate(invalid="ignore"):  # 0 times an infinite scale
        exact = elements * (fmt.scale_format.code_values[scales] * y.tensor_scale)[:, None]  # at most 8 + 8 + 24 bits
    np.testing.assert_array_equal(y.dequantize(np.float64).reshape(blocks, -1), exact)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y.dequantize(np.float32).reshape(blocks, -1), exact.astype(np.float32))
    for i in rng.integers(0, y.size, 50):
        np.testing.assert_array_equal(y[int(i)], exact.ravel()[i])


# ---- other implementations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, f in NAMED.items() if not f.tensor_scale])
def test_the_floor_rule_is_that_of_gfloat(name, seed, simd_level):
    gfloat = pytest.importorskip("gfloat")
    from gfloat import formats as theirs

    info = getattr(theirs, {"mxfp4": "format_info_mxfp4_e2m1"}.get(name, f"format_info_{name}"))
    fmt, rng = NAMED[name], np.random.default_rng(seed)
    for x in [
        *(rng.standard_normal((20, 32)) * 2.0 ** rng.integers(-130, 120, (20, 1))),
        np.zeros(32),
        np.full(32, 3.0),
    ]:
        expected = gfloat.quantize_block(info, x, gfloat.compute_scale_amax)
        ours = lpnum.array(x, fmt)
        if name == "mxint8":  # gfloat goes to -2, we keep the range symmetric
            expected = np.maximum(expected, -fmt.element.max * ours.scales[0])
        np.testing.assert_array_equal(ours.dequantize(np.float64), expected)


def test_the_nearest_rule_is_the_conversion_of_ml_dtypes(seed, simd_level):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(seed)
    v = (rng.uniform(0.5, 2, 2000) * 2.0 ** rng.integers(-120, 100, 2000)).astype(np.float32)
    ties = 1.5 * 2.0 ** np.arange(-100.0, 100)  # go to the even code, as in lpnum.encode; in ml_dtypes they go up
    v = np.concatenate([v, np.nextafter(ties, 0, dtype=np.float32), ties]).astype(np.float32)
    for fmt in MX:
        x = np.zeros((v.size, fmt.block))
        x[:, 3] = v.astype(np.float64) * fmt.element.max  # exact: 24 + 8 bits
        codes = lpnum.array(x, fmt.with_scale_rounding("nearest-even")).scale_codes[:, 0]
        np.testing.assert_array_equal(codes, lpnum.encode(v, lpnum.float8_e8m0fnu))
        np.testing.assert_array_equal(codes[:-200], v[:-200].astype(ml_dtypes.float8_e8m0fnu).view(np.uint8))


def test_elements_are_the_conversions_of_ml_dtypes_and_codes_read_as_torch_dtypes(seed, simd_level):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(seed).standard_normal((64, 96)).astype(np.float32)
    for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4"):
        y = lpnum.array(x, NAMED[name].with_scale_rounding("up"))  # nothing is clipped: a conversion saturates nothing
        scales = torch.from_numpy(y.scale_codes).view(torch.float8_e8m0fnu).to(torch.float64).numpy()
        np.testing.assert_array_equal(scales, y.scales)
        scaled = x / np.repeat(scales, 32, axis=1).astype(np.float32)
        expected = scaled.astype(getattr(ml_dtypes, y.format.element.name))
        np.testing.assert_array_equal(y.unpacked, expected.view(np.uint8))


# ---- special values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", NAMED.values(), ids=repr)
def test_a_nan_stays_alone_where_elements_have_one_and_else_takes_its_block(fmt, dtype, simd_level):
    x = np.linspace(-1, 1, 8 * fmt.block).astype(dtype)
    good = lpnum.array(x, fmt).dequantize()
    bad = x.copy()
    bad[fmt.block + 5] = np.nan
    y = lpnum.array(bad, fmt)
    lost = np.zeros(x.size, bool)
    alone = getattr(fmt.element, "nan_code", None) is not None
    lost[fmt.block + 5 if alone else slice(fmt.block, 2 * fmt.block)] = True
    np.testing.assert_array_equal(np.isnan(y), lost)
    np.testing.assert_array_equal(y.dequantize()[~lost], good[~lost])
    replaced = lpnum.array(bad, fmt, nan=float(x[fmt.block + 5]))
    np.testing.assert_array_equal(replaced.dequantize(), good)
    np.testing.assert_array_equal(np.isnan(bad), np.arange(x.size) == fmt.block + 5)  # the input is untouched


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinity_goes_to_the_largest_value_or_stays_special(dtype, simd_level):
    x = np.ones(64, dtype)
    x[40] = -np.inf
    y = lpnum.array(x, lpnum.mxfp8_e5m2)
    assert y.scales[1] == 2.0**127
    assert y.dequantize(np.float64)[40] == -(2.0**127) * 57344
    np.testing.assert_array_equal(y.dequantize()[:32], 1)
    kept = lpnum.array(x, lpnum.mxfp8_e5m2, overflow="ieee").dequantize()
    np.testing.assert_array_equal(kept, x)
    special = lpnum.array(x, lpnum.mxfp8_e4m3, overflow="ieee").dequantize()
    np.testing.assert_array_equal(np.isnan(special), np.isinf(x))
    whole = lpnum.array(x, lpnum.mxfp4, overflow="ieee").dequantize()
    np.testing.assert_array_equal(np.isnan(whole), np.arange(64) >= 32)
    tensor = lpnum.array(x, lpnum.nvfp4)
    assert tensor.tensor_scale == np.float32(1 / (6 * 448))  # from the finite values
    np.testing.assert_array_equal(tensor.dequantize()[:32], dtype(tensor.tensor_scale * 448 * 6))
    with pytest.raises(OverflowError, match=r"1 of 64 values .* \(first at index 40\)"):
        lpnum.array(x, lpnum.mxfp8_e4m3, overflow="error")


def test_smallest_scale_of_nvfp4_is_the_subnormal_and_not_the_smallest_normal(simd_level):
    for dtype in (np.float32, np.float64):
        x = np.zeros(48, dtype)
        x[0], x[16] = 6 * 448, 6 * 2.0**-9 / 3  # the second block asks for 2^-9 / 3, which is nearer to 0
        y = lpnum.array(x, lpnum.nvfp4)
        assert y.tensor_scale == 1
        assert y.scales.tolist() == [448, 2.0**-9, 2.0**-9]
        assert y.dequantize()[16] == x[16]


def test_nan_without_a_place_and_negative_values_are_errors():
    fmt = BlockFormat(lpnum.float4_e2m1fn, 4, lpnum.minifloat(5, 0, specials="none", signed=False))
    with pytest.raises(
        ValueError, match=r"1 blocks contain values that are not numbers \(first block at index \(1, 4\)\)"
    ):
        lpnum.array([[0.0] * 8, [0.0] * 6 + [np.nan, 0.0]], fmt)
    unsigned = BlockFormat(lpnum.minifloat(3, 2, specials="none", signed=False), 4)
    with pytest.raises(ValueError, match="negative or not numbers"):
        lpnum.array([1.0, -1.0, 1.0, 1.0], unsigned)


def test_no_rule_but_floor_and_nearest_clips_beyond_half_a_step(seed):
    x = np.random.default_rng(seed).standard_normal((500, 32)) * 1000
    for fmt in MX:
        with lpnum.count_events() as events:
            lpnum.array(x, fmt.with_scale_rounding("up"))
        assert events.overflow == 0
        assert events.total == x.size
        with lpnum.count_events() as events:
            lpnum.array(x, fmt.with_scale_rounding("nearest-even"))
        assert events.overflow > 0


# not "nearest-even": an absmax of 4.6 becomes the element 4, which then asks for half the scale, where it is clipped
LASTING = [
    f for f in RULES if f.scale_rounding != "nearest-even" and f.scale_format.mantissa_bits == 0 and f.block < 100
]


@pytest.mark.parametrize("fmt", LASTING, ids=repr)
def test_quantizing_what_was_quantized_changes_nothing(fmt, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, fmt.block)) * 2.0 ** rng.integers(-20, 20, (50, 1))
    if fmt.scale_format.min_exponent > -100:
        x /= 2.0**30
    values = lpnum.array(x, fmt).dequantize(np.float64)
    np.testing.assert_array_equal(lpnum.array(values, fmt).dequantize(np.float64), values)
