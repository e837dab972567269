"""What goes into encode and decode of floats: every layout and dtype; bad input, which is named and changes nothing."""

from __future__ import annotations

import itertools
from fractions import Fraction

import float_cases as cases
import numpy as np
import pytest

import lpnum
from lpnum import _reference
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

FORMATS = [lpnum.float8_e4m3fn, lpnum.float8_e5m2fnuz, lpnum.float4_e2m1fn, lpnum.bfloat16, lpnum.p3109(8, 1)]


def layouts(x):
    """The values of a C-contiguous array (n, m) in every layout that NumPy has."""
    n, m = x.shape
    misaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    assert not misaligned.flags.aligned
    readonly = x.copy()
    readonly.flags.writeable = False
    other = x.dtype.newbyteorder()
    record = np.zeros(x.shape, [("pad", "u1"), ("x", x.dtype)])  # packed: misaligned and strided
    record["x"] = x
    return {
        "contiguous": x,
        "Fortran": np.asfortranarray(x),
        "transposed": np.ascontiguousarray(x.T).T,
        "every second": np.repeat(x, 2, axis=1)[:, ::2],
        "every third row": np.repeat(x, 3, axis=0)[::3],
        "reversed": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        "reversed, every second": np.repeat(x[:, ::-1], 2, axis=1)[:, ::-2],
        "misaligned": misaligned,
        "read only": readonly,
        "other byte order": x.astype(other),
        "field of records": record["x"],
        "four axes": x.reshape(n, 1, m, 1),
        "memory order of another view": np.moveaxis(np.moveaxis(x.reshape(n, m, 1), 0, 2).copy(), 2, 0).reshape(n, m),
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_every_layout_is_encoded_exactly_and_left_as_it_is(fmt, dtype, simd_level):
    with np.errstate(over="ignore", under="ignore"):
        x = np.random.default_rng(1).normal(0, fmt.max / 3, (23, 67)).astype(dtype)
    wide = x.astype(np.float64).ravel()
    for mode in ROUNDING_MODES:
        thresholds = cases.stochastic_thresholds(CounterRNG(2, 3), x.size) if mode == "stochastic" else None
        expected = _reference.FloatSearch(fmt, wide).codes(mode, "ieee", thresholds)
        for name, y in layouts(x).items():
            before = y.copy()
            codes = lpnum.encode(y, fmt, rounding=mode, overflow="ieee", rng=CounterRNG(2, 3))
            assert codes.shape == y.shape
            cases.assert_codes(codes.ravel(), expected, wide, f"{fmt!r}, {mode}, {name}")
            assert y.tobytes() == before.tobytes(), f"{name}: the input was changed"
            back = lpnum.decode(codes, fmt, np.float64)
            rounded = lpnum.round_to(y, fmt, rounding=mode, overflow="ieee", rng=CounterRNG(2, 3))
            with np.errstate(over="ignore", under="ignore"):
                np.testing.assert_array_equal(rounded, back.astype(dtype))
            assert rounded.dtype == np.dtype(dtype)


@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_codes_in_every_layout_are_decoded(fmt, simd_level):
    codes = np.random.default_rng(0).integers(0, fmt.code_max + 1, (31, 64)).astype(fmt.storage)
    for name, c in layouts(codes).items() if fmt.storage.itemsize > 1 else [("strided", codes[::-1, ::3])]:
        for dtype in (np.float32, np.float64):
            expected = fmt.code_values[np.asarray(c, np.int64)].astype(dtype)
            np.testing.assert_array_equal(lpnum.decode(c, fmt, dtype), expected, err_msg=name)
    for integer in (np.int64, np.uint32, np.int16 if fmt.bits < 16 else np.uint16):
        np.testing.assert_array_equal(lpnum.decode(codes.astype(integer), fmt), lpnum.decode(codes, fmt))


@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_scalars_and_empty_arrays(fmt, simd_level):
    one = lpnum.encode(1.0, fmt)
    assert (one.shape, fmt.code_values[int(one)]) == ((), 1.0)
    assert lpnum.encode(np.float32(1.0), fmt) == one
    for shape in ((0,), (0, 3), (3, 0, 2)):
        for dtype in (np.float16, np.float32, np.float64, np.int8):
            codes = lpnum.encode(np.zeros(shape, dtype), fmt, rounding="stochastic", overflow="error", rng=1)
            assert (codes.shape, codes.dtype) == (shape, fmt.storage)
            assert lpnum.decode(codes, fmt, np.float64).shape == shape
    for n in range(1, 70):  # the ends of vector loops
        x = np.linspace(-1, 1, n)
        expected = _reference.FloatSearch(fmt, x.astype(np.float32)).codes("nearest-even", "clamp")
        np.testing.assert_array_equal(lpnum.encode(x.astype(np.float32), fmt), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.uint64, np.bool_, np.longdouble])
@pytest.mark.parametrize("fmt", [*FORMATS, lpnum.float16, lpnum.float8_e8m0fnu], ids=repr)
def test_integers_and_long_doubles_are_rounded_once(fmt, dtype):
    """Float64 does not hold all of them: a value beside a midpoint must not become the midpoint on the way."""
    finite = fmt.code_values[np.isfinite(fmt.code_values)]
    values = np.unique(np.abs(finite if finite.size < 300 else np.random.default_rng(0).choice(finite, 300)))
    exact = [Fraction(float(v)) for v in values]
    exact += [(a + b) / 2 for a, b in itertools.pairwise(exact)]
    if dtype is np.longdouble:
        x = np.array([np.longdouble(float(v)) for v in exact])
        x = np.concatenate([x, np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(0)), [dtype("1e4000")]])
        exact = [Fraction(*v.as_integer_ratio()) for v in x]
    else:
        limits = (0, 1) if dtype is np.bool_ else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        signs = (1, -1) if fmt.signed else (1,)
        near = {s * (int(v) + d) for v in [*exact, 2**62 + 2**54, 2**53] for d in (-1, 0, 1, 2) for s in signs}
        low = limits[0] if fmt.signed else 0
        exact = [Fraction(v) for v in sorted(near | {*limits}) if low <= v <= limits[1]]
        x = np.array([int(v) for v in exact], dtype)
    for mode in ROUNDING_MODES[:-1]:
        for policy in ("clamp", "ieee"):
            codes = [_reference.float_code(fmt, v, mode, policy) for v in exact]
            np.testing.assert_array_equal(lpnum.encode(x, fmt, rounding=mode, overflow=policy), codes, err_msg=mode)
            if policy == "clamp":
                stored = lpnum.array(x, fmt, rounding=mode)
                np.testing.assert_array_equal(stored.codes, codes)
                stored[...] = x
                np.testing.assert_array_equal(stored.codes, codes)


# ---- bad input -----------------------------------------------------------------------------------------------------

F = lpnum.float8_e4m3fn
UNSIGNED = lpnum.minifloat(5, 3, specials="none", signed=False)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: lpnum.encode([1.0, np.nan, np.nan], lpnum.float6_e2m3fn),
            ValueError,
            r"2 of 3 .*first at index 1\).*nan=",
        ),
        (
            lambda: lpnum.encode([[1.0, -1.0]], UNSIGNED),
            ValueError,
            r"1 of 2 values are negative .*\(0, 1\).*signed format",
        ),
        (lambda: lpnum.encode([-np.inf], lpnum.float8_e8m0fnu), ValueError, "1 of 1 values are negative"),
        (lambda: lpnum.encode([1.0, 465.0, -1e9], F, overflow="error"), OverflowError, r"2 of 3 .*first at index 1\)"),
        (
            lambda: lpnum.encode([np.inf], lpnum.float8_e5m2, overflow="error"),
            OverflowError,
            "1 of 1 values are beyond",
        ),
        (lambda: lpnum.encode([1 + 2j], F), TypeError, "expected real numbers, not an array of dtype complex128"),
        (lambda: lpnum.encode(np.array([1.0, "a"], object), F), TypeError, "real numbers, not .* object"),
        (lambda: lpnum.encode(["1.0"], F), TypeError, "real numbers, not .* <U3"),
        (lambda: lpnum.encode([None], F), TypeError, "real numbers, not .* object"),
        (lambda: lpnum.encode(np.array(["2020"], "M8[Y]"), F), TypeError, "real numbers, not .* datetime64"),
        (lambda: lpnum.encode(np.zeros(2, "i4,f4"), F), TypeError, "real numbers"),
        (lambda: lpnum.encode([[1.0], [2.0, 3.0]], F), ValueError, "inhomogeneous"),
        *(
            (lambda bits=bits: lpnum.encode([1.0], F, random_bits=bits), ValueError, f"1 to 32, not {words}")
            for bits, words in (
                (0, "0"),
                (33, "33"),
                (-1, "-1"),
                (True, "True"),
                (8.0, "8.0"),
                ("8", "'8'"),
                (1j, "1j"),
            )
        ),
        (lambda: lpnum.encode([1.0], F, rounding="nearest"), ValueError, "'nearest' is not one of .*did you mean"),
        (lambda: lpnum.encode([1.0], F, overflow="saturate"), ValueError, "'saturate' is not one of 'clamp'"),
        (lambda: lpnum.encode([1.0], F, overflow="wrap"), ValueError, "'wrap' is for fixed point.*use 'clamp'"),
        (lambda: lpnum.encode([1.0], F, nan="x"), ValueError, "finite number, not 'x'"),
        (lambda: lpnum.encode([1.0], F, nan=np.nan), ValueError, "finite number, not nan"),
        (lambda: lpnum.encode([1.0], F, rng="seed"), TypeError, "expected None, a seed"),
        (lambda: lpnum.encode([1.0], F, rng=-1), ValueError, "from 0 to 2"),
        (lambda: lpnum.decode([256], F), ValueError, "codes from 256 to 256, but .* from 0 to 255"),
        (lambda: lpnum.decode([0, -1], F), ValueError, "codes from -1 to 0, but .* from 0 to 255"),
        (lambda: lpnum.decode([64], lpnum.float6_e2m3fn), ValueError, "from 0 to 63"),
        (lambda: lpnum.decode([1.0], F), TypeError, "codes must be integers, not float64"),
        (lambda: lpnum.decode([True], F), TypeError, "codes must be integers, not bool"),
        (lambda: lpnum.decode([1], F, np.int8), TypeError, "must be a float dtype .* not int8"),
        (lambda: lpnum.decode([1], F, complex), TypeError, "must be a float dtype .* not complex128"),
        (lambda: lpnum.array([1.0, np.nan], lpnum.float4_e2m1fn), ValueError, r"1 of 2 values are not numbers"),
        (lambda: lpnum.array([1j], F), TypeError, "real numbers"),
        (lambda: lpnum.from_codes([300], F), ValueError, "codes from 300 to 300"),
    ],
)
def test_bad_input_is_named_with_what_is_allowed(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("float8_e4m3f", "float8_e4m3fn or float8_e4m3fnuz"),
        ("float8_e5m3", "float8_e5m2"),
        ("E4M3FN", "float8_e4m3fn"),
        ("fp8_e5m2", "float8_e5m2"),
        ("e2m1fn", "float4_e2m1fn"),
        ("bf16", "bfloat16"),
        ("half", "bfloat16 or float16"),
        ("float8-e5m2", "float8_e5m2"),
        ("ufixd8", "ufixed8"),
    ],
)
def test_an_unknown_format_name_suggests_near_ones(name, near):
    with pytest.raises(ValueError, match=f"unknown format '{name}'; did you mean .*{near}"):
        lpnum.format(name)


def test_a_name_that_is_near_to_nothing_lists_all():
    with pytest.raises(ValueError, match=r"unknown format 'zzz'; the named ones are bfloat16, .*ufixed8$"):
        lpnum.format("zzz")
    for other in (np.float16, 8, None, b"fixed8"):
        with pytest.raises(TypeError, match="expected a format or its name"):
            lpnum.format(other)


@pytest.mark.parametrize("policy", ["clamp", "ieee", "error"])
def test_an_array_stays_as_it_was_if_a_write_to_it_fails(policy):
    w = lpnum.array([1.0, 2.0, 3.0], lpnum.float6_e2m3fn, overflow=policy)
    before = w.codes.copy()
    with pytest.raises(ValueError, match="not numbers"):
        w[...] = [4.0, np.nan, 5.0]
    np.testing.assert_array_equal(w.codes, before)
    if policy == "error":
        with pytest.raises(OverflowError):
            w += [0.0, 0.0, 100.0]
        np.testing.assert_array_equal(w.codes, before)


# ---- finfo ---------------------------------------------------------------------------------------------------------

# NumPy counts decimal digits of formats below 16 bits as nobody else: ml_dtypes has one for e4m3fn and none for e2m3fn.
DECIMAL = {"precision", "resolution"}


@pytest.mark.parametrize("name", cases.NAMED)
def test_finfo_has_the_names_and_numbers_of_numpy(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    info = lpnum.finfo(name) if name != "float16" else lpnum.finfo(lpnum.float16)
    theirs = np.finfo(np.float16) if name == "float16" else ml_dtypes.finfo(name)
    names = {n for n in dir(theirs) if not n.startswith("_")} - {"dtype"}
    assert {"eps", "epsneg", "machep", "nmant", "nexp", "tiny"} <= names
    for attribute in sorted(names - DECIMAL):
        assert float(getattr(info, attribute)) == float(getattr(theirs, attribute)), attribute
    if cases.NAMED[name].bits == 16:
        assert info.precision == theirs.precision
        assert info.resolution == pytest.approx(float(theirs.resolution), rel=float(theirs.eps))
    assert info.format is cases.NAMED[name]
    assert str(info).startswith(f"Machine parameters for {name}")


def test_finfo_follows_from_the_values():
    for fmt in [*cases.MINIFLOATS, *cases.p3109_formats(8)]:
        info = lpnum.finfo(fmt)
        values = np.unique(fmt.code_values[np.isfinite(fmt.code_values)])
        assert (info.min, info.max, info.bits) == (values[0], values[-1], fmt.bits)
        assert info.smallest_subnormal == values[values > 0][0]
        assert 2.0 ** (info.maxexp - 1) <= info.max < 2.0**info.maxexp
        if info.max > 1 and info.minexp <= 0 and (values == 1).any() and (values > 1).any():
            assert info.eps == values[values > 1][0] - 1
            assert info.epsneg == 1 - values[values < 1][-1]
        assert (info.eps, info.epsneg) == (2.0**info.machep, 2.0**info.negep)
