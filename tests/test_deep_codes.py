"""Torch tensors to codes and back: the bits of `lpnum.encode` and `lpnum.decode`, whatever the layout."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lpnum
from lpnum.float_formats import FloatFormat

torch = pytest.importorskip("torch")

from lpnum_optim.deep import codes as deep_codes  # noqa: E402
from lpnum_optim.deep.candidates import FP434, FP520, FP690  # noqa: E402
from lpnum_optim.deep.codes import decode, encode, overflow_share, overflow_threshold, power_of_two_scale, round_  # noqa: E402

EIGHT_BITS = [fmt for fmt in lpnum.formats.named().values() if fmt.storage.itemsize == 1] + [FP434, FP520]
FORMATS = [*EIGHT_BITS, FP690, lpnum.bfloat16, lpnum.float16, lpnum.fixed16, lpnum.ufixed16]
SIGNED = [fmt for fmt in FORMATS if fmt.min < 0]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SCALES = [1.0, 2.0**-7, 2.0**9, 0.37, 1e-3]
MODES = ["nearest-even", "nearest-away", "towards-zero", "towards-positive", "towards-negative"]

by_name = pytest.mark.parametrize("fmt", FORMATS, ids=repr)
signed_by_name = pytest.mark.parametrize("fmt", SIGNED, ids=repr)


def values_for(fmt, scale, dtype, seed, n=3000):
    """Over and beyond the range, small ones, neighbours of midpoints; of the format's sign."""
    rng = np.random.default_rng(seed)
    largest = min(fmt.max, 3e4)
    x = np.concatenate(
        [rng.normal(size=n) * largest * 0.4, rng.normal(size=n) * 2.0 ** rng.integers(-18, 3, n), [0.0, -0.0, largest]]
    )
    x = np.abs(x) if fmt.min >= 0 else x
    return torch.tensor(x * scale, dtype=dtype)


def stored(codes):
    """The codes as lpnum stores them: unsigned 16-bit ones are kept in int16."""
    return codes.numpy().view(np.uint16) if codes.dtype == torch.int16 else codes.numpy()


def expected_codes(x, fmt, scale, rounding):
    with np.errstate(over="ignore"):
        return lpnum.encode(x.double().numpy() / scale, fmt, rounding=rounding)


def expected_values(codes, fmt, scale, dtype):
    """Scaled in float64, rounded once to the dtype, as everything in lpnum."""
    exact = lpnum.decode(codes, fmt, np.float64) * scale
    if dtype in (torch.float32, torch.float64):
        return torch.tensor(exact).to(dtype)
    name = {torch.bfloat16: "bfloat16", torch.float16: "float16"}[dtype]
    return torch.tensor(lpnum.round_to(exact, name)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@by_name
def test_codes_and_values_equal_those_of_lpnum(fmt, dtype, seed, simd_level):
    for scale in SCALES:
        x = values_for(fmt, scale, dtype, seed)
        x = x[torch.isfinite(x)]
        for rounding in ("nearest-even", "nearest-away"):
            codes = encode(x, fmt, scale=scale, rounding=rounding)
            expected = expected_codes(x, fmt, scale, rounding)
            np.testing.assert_array_equal(stored(codes).view(expected.dtype), expected)
        back = decode(codes, fmt, scale=scale, dtype=dtype)
        assert back.dtype == dtype
        torch.testing.assert_close(back, expected_values(expected, fmt, scale, dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("rounding", MODES)
@signed_by_name
def test_every_direction_of_rounding_is_that_of_lpnum(fmt, rounding, seed):
    x = values_for(fmt, 1.0, torch.float32, seed)
    expected = expected_codes(x, fmt, 1.0, rounding)
    np.testing.assert_array_equal(stored(encode(x, fmt, rounding=rounding)).view(expected.dtype), expected)


def test_stochastic_rounding_draws_the_words_of_lpnum(seed):
    x = values_for(lpnum.float8_e4m3fn, 1.0, torch.float32, seed)
    rngs = [lpnum.random.CounterRNG(seed + 5) for _ in range(2)]
    codes = encode(x, lpnum.float8_e4m3fn, rounding="stochastic", rng=rngs[0])
    np.testing.assert_array_equal(
        codes.numpy(), lpnum.encode(x.numpy(), lpnum.float8_e4m3fn, rounding="stochastic", rng=rngs[1])
    )


@pytest.mark.parametrize("fmt", EIGHT_BITS, ids=repr)
@pytest.mark.parametrize("scale", SCALES)
def test_every_code_survives_a_round_trip(fmt, scale):
    codes = fmt.all_codes()
    values = lpnum.decode(codes, fmt, np.float64)
    codes = torch.from_numpy(codes[np.isfinite(values)])
    back = encode(decode(codes, fmt, scale=scale, dtype=torch.float64), fmt, scale=scale)
    changed = back != codes
    assert bool((decode(back[changed], fmt) == 0).all())  # -0 where it has no code of its own
    again = decode(back, fmt, scale=scale, dtype=torch.float64)
    assert torch.equal(again, decode(codes, fmt, scale=scale, dtype=torch.float64))


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3),
    "permuted": lambda x: x.permute(2, 0, 3, 1),
    "every second": lambda x: x[:, :, ::2],
    "a part": lambda x: x[:, 1:2],
    "flat": lambda x: x.reshape(-1),
    "0-d": lambda x: x[0, 0, 0, 0],
    "empty": lambda x: x[:0],
    "empty in the middle": lambda x: x[:, :0],
    "expanded": lambda x: x[:1].expand(3, -1, -1, -1),
    "one element repeated": lambda x: x[0, 0, 0, 0].expand(2, 3),
    "size 1 axes with odd strides": lambda x: x.as_strided((2, 1, 9), (9, 5, 1)),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_codes_of_the_contiguous_tensor(layout, dtype, seed):
    torch.manual_seed(seed)
    x = LAYOUTS[layout](torch.randn(4, 3, 6, 5).to(dtype))
    before = x.clone()
    codes = encode(x, FP434, rounding="nearest-away")
    assert codes.shape == x.shape
    assert torch.equal(codes, encode(x.contiguous(), FP434, rounding="nearest-away"))
    values = decode(codes, FP434, dtype=dtype)
    assert torch.equal(values, decode(codes.contiguous(), FP434, dtype=dtype))
    assert torch.equal(x, before)
    if deep_codes.is_dense(x):
        assert codes.stride() == x.stride() or x.numel() <= 1 or 1 in x.shape
        assert torch.equal(round_(x, FP434, rounding="nearest-away"), codes)
        assert torch.equal(x, values)
    else:
        with pytest.raises(ValueError, match="contiguous"):
            round_(x, FP434)


def test_a_tensor_that_needs_a_gradient_is_read_like_any_other():
    x = torch.randn(50, requires_grad=True)
    codes = encode(x, FP434)
    assert not codes.requires_grad
    assert torch.equal(codes, encode(x.detach(), FP434))
    assert torch.equal(round_(x, FP434), codes)
    assert x.requires_grad
    assert x.grad_fn is None


def test_nan_needs_a_code_or_a_replacement():
    x = torch.tensor([1.0, math.nan, -2.0])
    assert encode(x, lpnum.float8_e4m3fn).tolist()[1] in (0x7F, 0xFF)
    with pytest.raises(ValueError, match="1 of 3 values are not numbers"):
        encode(x, FP434)
    assert decode(encode(x, FP434, nan=30.0), FP434).tolist() == [1.0, 30.0, -2.0]
    assert decode(encode(x, lpnum.fixed8, nan=0.0), lpnum.fixed8).tolist() == [1.0, 0.0, -2.0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_beyond_the_range_become_the_largest_and_infinities_too(dtype):
    x = torch.tensor([1e4, -1e4, math.inf, -math.inf], dtype=dtype)
    assert decode(encode(x, FP434), FP434).tolist() == [30.0, -30.0, 30.0, -30.0]
    assert decode(encode(x, lpnum.float8_e5m2), lpnum.float8_e5m2).tolist()[2:] == [57344.0, -57344.0]


def test_formats_of_the_paper_have_the_values_of_its_kernel():
    for fmt, largest, smallest, threshold in (
        (FP434, 30.0, 2.0**-13, 31.0), (FP520, 114688.0, 2.0**-16, 122880.0),
        (FP690, 2.0**32 * (2 - 2.0**-9), 2.0**-39, 2.0**33 - 2.0**22),
    ):  # fmt: skip
        assert fmt.max == largest
        assert overflow_threshold(fmt) == threshold
        x = torch.tensor([smallest, smallest / 2, smallest / 2 * (1 - 2.0**-20), threshold, largest])
        codes = encode(x, fmt, rounding="nearest-away")
        assert decode(codes, fmt).tolist() == [smallest, smallest, 0.0, largest, largest]
        assert np.isfinite(lpnum.decode(fmt.all_codes(), fmt)).all()


def test_the_overflow_threshold_is_where_rounding_would_leave_the_range():
    for fmt in (lpnum.float8_e4m3fn, lpnum.float8_e5m2, lpnum.float6_e2m3fn, FP434, FP520, lpnum.fixed(8, frac=4)):
        unlimited = lpnum.minifloat(fmt.exponent_bits + 2, fmt.mantissa_bits, bias=fmt.bias, specials="none") if (
            isinstance(fmt, FloatFormat)
        ) else lpnum.fixed(16, frac=4)  # fmt: skip
        threshold = overflow_threshold(fmt)
        below, at = lpnum.round_to([np.nextafter(threshold, 0), threshold], unlimited, rounding="nearest-away")
        assert below == fmt.max < at


def test_the_share_beyond_the_range_counts_nan_and_both_signs(seed):
    x = torch.tensor([31.0, 30.99, -31.0, -30.99, math.nan, math.inf, -math.inf, 0.0])
    assert overflow_share(x, FP434) == 5 / 8
    assert overflow_share(x / 4, FP434, scale=0.25) == 5 / 8
    assert overflow_share(x[1:2], FP434) == overflow_share(x[:0], FP434) == 0.0


@pytest.mark.parametrize("fmt", [FP434, FP520, lpnum.float8_e4m3fn, lpnum.fixed8], ids=repr)
def test_the_power_of_two_scale_is_the_smallest_that_covers(fmt, seed):
    torch.manual_seed(seed)
    for magnitude in (1e-20, 1e-3, 1.0, 17.3, 1e15):
        x = torch.randn(100) * magnitude
        scale = power_of_two_scale(x, fmt)
        assert math.frexp(scale)[0] == 0.5
        assert float(x.abs().max()) <= scale * fmt.max
        assert float(x.abs().max()) > scale / 2 * fmt.max
    assert power_of_two_scale(torch.zeros(3), fmt) == power_of_two_scale(torch.zeros(0), fmt) == 1.0
    assert not math.isfinite(power_of_two_scale(torch.tensor([1.0, math.inf]), fmt))
    assert not math.isfinite(power_of_two_scale(torch.tensor([1.0, math.nan]), fmt))


def test_what_is_no_real_tensor_of_the_cpu_is_named():
    with pytest.raises(TypeError, match=r"encode: a tensor of torch\.int64"):
        encode(torch.arange(3), FP434)
    codes = encode(torch.ones(4), FP434)
    with pytest.raises(ValueError, match="out has shape"):
        decode(codes, FP434, out=torch.empty(5))
    with pytest.raises(ValueError, match="strides"):
        decode(encode(torch.ones(2, 3), FP434), FP434, out=torch.empty(3, 2).t())
