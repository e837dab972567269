"""LPArray as a container: creation, indexing, assignment, views, changes of grid, pickling, memory."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import testing
from lpnum.random import CounterRNG
from lpnum.scaling import calibrate, cover


def values_of(x):
    return x.dequantize(np.float64)


# ---- creation ------------------------------------------------------------------------------------------------------


def test_array_stores_one_byte_per_element_and_calibrates_on_absmax():
    x = lpnum.array(np.array([1.0, -2.54, 0.3], np.float32))
    assert x.codes.dtype == np.int8
    assert x.nbytes == 3
    assert x.dtype == np.float32
    assert x.scale == pytest.approx(0.02)
    assert x.codes.tolist() == [50, -127, 15]


@pytest.mark.parametrize("calibration", ["absmax", "minmax", "rms"])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1), -1])
def test_calibrated_arrays_err_by_at_most_half_a_step(calibration, axis, seed):
    values = np.abs(np.random.default_rng(seed).normal(3, 1, (5, 7))) * 10.0 ** np.arange(5)[:, None]
    for fmt in (lpnum.fixed8, lpnum.ufixed8, lpnum.fixed4, lpnum.fixed16):
        x = lpnum.array(values, fmt, axis=axis, calibration=calibration)
        error = np.abs(values_of(x) - values)
        clipped = (x.codes == fmt.code_max) | (x.codes == fmt.code_min)
        assert (error <= 0.5000001 * np.broadcast_to(x.scale, x.shape))[~clipped].all()
        assert calibration == "rms" or (error <= 0.5000001 * np.broadcast_to(x.scale, x.shape)).all()
        if axis is not None and axis != (0, 1):
            assert np.shape(x.scale) == tuple(n if k == axis % 2 else 1 for k, n in enumerate(values.shape))


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
@pytest.mark.parametrize("calibration", ["absmax", "minmax", "rms"])
def test_constant_data_is_represented(value, calibration):
    x = lpnum.array(np.full(4, value), lpnum.fixed8, calibration=calibration)
    tolerance = 0.5 * x.scale if calibration == "rms" else 1e-12
    np.testing.assert_allclose(values_of(x), value, atol=tolerance)


def test_creation_functions_follow_numpy():
    assert lpnum.zeros((2, 3), dtype="fixed8").shape == (2, 3)
    assert (np.asarray(lpnum.ones(3)) == 1).all()
    assert (np.asarray(lpnum.full((2, 2), -7.0)) == -7).all()
    assert np.asarray(lpnum.arange(-3, 4)).tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert lpnum.arange(0, 1000, 100).shape == (10,)
    np.testing.assert_allclose(np.asarray(lpnum.linspace(0, 1, 5)), np.linspace(0, 1, 5), atol=0.004)
    assert lpnum.empty((0, 4)).shape == (0, 4)
    assert lpnum.array([]).size == 0
    assert lpnum.array(3.0).shape == ()
    assert isinstance(lpnum.zeros(3, dtype=np.float32), np.ndarray)
    x = lpnum.array([1.0, 2.0], scale=0.5, rounding="stochastic", rng=1)
    for y in (lpnum.zeros_like(x), lpnum.ones_like(x), lpnum.full_like(x, 1.5), lpnum.empty_like(x), np.zeros_like(x)):
        assert (y.scale, y.format, y.rounding, y.dtype) == (0.5, lpnum.fixed8, "stochastic", x.dtype)
    assert lpnum.zeros_like(x, shape=(4,)).shape == (4,)
    assert lpnum.zeros_like(x, dtype=lpnum.fixed16).format == lpnum.fixed16


def test_bit_centered_zeros_hold_the_offset_exactly():
    w = np.random.default_rng(0).normal(size=50)
    x = lpnum.zeros(50, dtype=lpnum.fixed8, scale=1e-3, offset=w)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(np.asarray(x), w)
    w[0] = 99  # the array has its own copy
    assert x.offset[0] != 99


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: lpnum.array([1.0], scale=-1.0), ValueError, "greater than 0, got -1"),
        (lambda: lpnum.array([1.0], scale=0.0), ValueError, "greater than 0"),
        (lambda: lpnum.array([1.0], scale=np.nan), ValueError, "greater than 0|finite"),
        (lambda: lpnum.array([1.0], scale=[1.0, 2.0]), ValueError, "does not broadcast"),
        (lambda: lpnum.array([1.0], offset=np.inf), ValueError, "offset: must be finite"),
        (lambda: lpnum.array([np.nan, 1.0]), ValueError, "NaN or infinity"),
        (lambda: lpnum.array([np.inf, 1.0]), ValueError, "NaN or infinity"),
        (lambda: lpnum.array([np.nan, 1.0], scale=1.0), ValueError, "1 of 2 values are not numbers"),
        (lambda: lpnum.array([-1.0], lpnum.ufixed8), ValueError, "unsigned"),
        (lambda: lpnum.array([1.0], "fixd8"), ValueError, "did you mean fixed8"),
        (lambda: lpnum.array([1.0], calibration="max"), ValueError, "absmax"),
        (lambda: lpnum.array([1.0], axis=1), ValueError, "out of range"),
        (lambda: lpnum.array([1j]), TypeError, "real numbers"),
        (lambda: lpnum.array([1.0], rounding="up"), ValueError, "rounding"),
        (lambda: lpnum.from_codes([300], lpnum.fixed8), ValueError, "codes from 300 to 300"),
        (lambda: lpnum.from_codes([9], lpnum.fixed4), ValueError, "codes from -8 to 7"),
        (
            lambda: lpnum.LPArray([1], lpnum.fixed8, dtype=np.int32),
            TypeError,
            "float32 or float64",
        ),
        (lambda: lpnum.quantize([1.0], np.float32), TypeError, "format or its name"),
        (lambda: lpnum.quantize([1.0], out=lpnum.zeros(1), scale=1.0), TypeError, "out="),
        (lambda: lpnum.zeros(3, scale=-1.0), ValueError, "greater than 0"),
        (lambda: lpnum.zeros(3, dtype="nonsense"), ValueError, "unknown format"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_nan_replacement():
    x = lpnum.array([1.0, np.nan, -2.0], nan=0.0)
    assert np.asarray(x)[1] == 0
    np.testing.assert_allclose(np.asarray(x)[[0, 2]], [1, -2], atol=0.01)


@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6), fmt=testing.fixed_formats())
def test_cover_contains_the_interval_and_zero_if_inside(low, width, fmt):
    high = low + width
    scale, offset = cover(low, high, fmt)
    first, last = (offset + scale * fmt.unit * c for c in (fmt.code_min, fmt.code_max))
    slack = 1e-9 * max(abs(low), abs(high), 1e-300)
    assert first <= low + slack
    assert last >= high - slack
    if low < 0 < high:
        codes = offset + scale * fmt.unit * fmt.all_codes().astype(float)
        assert (codes == 0).any()


def test_calibrate_keeps_a_given_offset():
    scale, offset = calibrate(np.array([9.0, 11.54]), lpnum.fixed8, offset=10.0)
    assert offset == 10.0
    assert scale == pytest.approx(1.54 / 127)


# ---- indexing against NumPy ----------------------------------------------------------------------------------------


@given(x=testing.lp_arrays(), data=st.data())
def test_basic_indexing_equals_numpys_on_values(x, data):
    index = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True, allow_ellipsis=True))
    expected = values_of(x)[index]
    part = x[index]
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(values_of(part), expected)
        assert np.may_share_memory(part.codes, x.codes) or part.size == 0
    else:
        assert part == expected
        assert isinstance(part, np.floating)


@given(x=testing.lp_arrays(shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5)), data=st.data())
def test_fancy_and_boolean_indexing_equal_numpys_on_values(x, data):
    integers = data.draw(hnp.integer_array_indices(x.shape))
    mask = data.draw(hnp.arrays(bool, x.shape))
    for index in (integers, mask):
        np.testing.assert_array_equal(values_of(x[index]), values_of(x)[index])


ANY_SHAPE = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5)


@given(x=testing.lp_arrays(testing.fixed_formats(), ANY_SHAPE), data=st.data())
def test_assignment_rounds_onto_the_grid_of_the_place_assigned_to(x, data):
    index = data.draw(
        st.one_of(hnp.basic_indices(x.shape), hnp.integer_array_indices(x.shape), hnp.arrays(bool, x.shape))
    )
    value = data.draw(st.floats(-1e5, 1e5))
    before = x.copy()
    x[index] = value
    touched = np.zeros(x.shape, bool)
    touched[index] = True
    np.testing.assert_array_equal(x.codes[~touched], before.codes[~touched])
    step, offset = (np.broadcast_to(m, x.shape) for m in (np.asarray(x.scale) * x.format.unit, x.offset))
    exact = np.clip(np.rint((value - offset) / step), x.format.code_min, x.format.code_max)
    np.testing.assert_array_equal(x.codes[touched], exact[touched])
    testing.assert_same(x, lpnum.from_codes(x.codes, before.format, before.scale, before.offset))


def test_a_view_shares_codes_and_a_fancy_index_does_not():
    x = lpnum.array(np.arange(12.0).reshape(3, 4), scale=1.0)
    x[1:, ::2][0, 1] = 50.0
    assert np.asarray(x)[1, 2] == 50
    x[[0, 1]][0, 0] = 99.0
    assert np.asarray(x)[0, 0] == 0
    x[x > 7] = 0.0
    assert np.asarray(x).max() == 7
    with pytest.raises(IndexError):
        x[7]
    with pytest.raises(IndexError, match="LPArray"):
        x[x]
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = [1.0, 2.0]


def test_failed_assignment_leaves_the_array_as_it_was():
    x = lpnum.array(np.arange(2000.0) / 20, scale=1.0)
    before = x.codes.copy()
    bad = np.ones(2000)
    bad[1500] = np.nan
    for index in (slice(None), np.arange(2000)):
        with pytest.raises(ValueError, match="index 1500"):
            x[index] = bad
        np.testing.assert_array_equal(x.codes, before)
    y = lpnum.LPArray(x.codes, x.format, overflow="error")
    with pytest.raises(OverflowError):
        y[:] = np.where(np.arange(2000) == 1999, 1e9, 3.0)
    np.testing.assert_array_equal(x.codes, before)


def test_iteration_len_and_scalars():
    x = lpnum.array([[1.0, 2.0], [3.0, 4.0]], scale=1.0)
    assert len(x) == 2
    assert [float(row.sum()) for row in x] == [3, 7]
    assert x.tolist() == [[1, 2], [3, 4]]
    assert float(x[0, 0]) == 1.0 == lpnum.array(1.0).item()
    assert 4.0 in x
    assert 9.0 not in x
    with pytest.raises(TypeError):
        len(lpnum.array(1.0))
    with pytest.raises(TypeError):
        iter(lpnum.array(1.0))
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


# ---- other grids ---------------------------------------------------------------------------------------------------


def test_recenter_moves_values_into_the_offset_and_keeps_them(seed):
    rng = np.random.default_rng(seed)
    w = lpnum.zeros(200, dtype=lpnum.fixed8, scale=0.1, offset=rng.normal(size=200), rounding="stochastic", rng=seed)
    exact = values_of(w)
    for scale in (1e-2, 1e-4, 1e-8):
        w -= rng.normal(0, 10 * w.scale, 200)
        before = values_of(w)
        offset = w.offset
        w.recenter(scale=scale)
        np.testing.assert_array_equal(values_of(w), before)
        assert not w.codes.any()
        assert w.scale == scale
        assert w.offset is offset  # in place
        exact = before
    np.testing.assert_array_equal(w.offset, exact)


def test_recenter_with_an_offset_keeps_what_remains_in_the_codes():
    w = lpnum.array([1.03, -0.5, 0.25], scale=0.01)
    w.recenter(scale=0.001, offset=np.array([1.0, -0.5, 0.2]))
    np.testing.assert_allclose(values_of(w), [1.03, -0.5, 0.25], atol=1e-12)
    assert w.codes.tolist() == [30, 0, 50]


def test_views_taken_before_recentering_keep_their_values():
    for offset in (0.0, np.zeros(4)):
        w = lpnum.zeros(4, scale=0.5, offset=offset)
        w += [1.0, 2.0, 3.0, 4.0]
        view, expected = w[1:3], [2.0, 3.0]
        w.recenter(scale=0.125)
        np.testing.assert_array_equal(values_of(view), expected)
        with pytest.raises(ValueError, match="view"):
            view.recenter()


def test_rescale_rounds_once_and_equal_grids_keep_codes():
    x = lpnum.array(np.linspace(-1, 1, 101), scale=0.01)
    y = x.rescale(scale=0.03)
    np.testing.assert_array_equal(y.codes, np.rint(values_of(x) / 0.03))
    for mode in lpnum.rounding.ROUNDING_MODES:
        with lpnum.context(rounding=mode, rng=0):
            np.testing.assert_array_equal(x.rescale(scale=0.01).codes, x.codes)
    with pytest.raises(ValueError, match="greater than 0"):
        x.rescale(scale=-0.1)


@pytest.mark.parametrize("source", [lpnum.fixed4, lpnum.fixed8, lpnum.fixed(8, frac=3)], ids=repr)
@pytest.mark.parametrize("target", [lpnum.fixed16, lpnum.fixed(12)], ids=repr)
def test_more_bits_hold_every_value_exactly(source, target):
    x = lpnum.from_codes(source.all_codes(), source, scale=0.37, offset=2.0)
    y = x.astype(target)
    if source.calibrated:
        np.testing.assert_array_equal(values_of(y), values_of(x))
        assert y.scale == x.scale
    else:
        np.testing.assert_allclose(values_of(y), values_of(x), atol=np.asarray(y.scale).max())


@given(x=testing.lp_arrays(testing.fixed_formats()), fmt=testing.fixed_formats())
def test_astype_any_format_stays_within_half_a_step_of_the_covering_grid(x, fmt):
    y = x.astype(fmt)
    assert y.format == fmt
    assert y.shape == x.shape
    if fmt.calibrated and x.size:
        step = np.broadcast_to(np.asarray(y.scale) * fmt.unit, y.shape)
        reach = np.abs(values_of(x)).max() + np.abs(np.asarray(y.offset)).max()
        assert (np.abs(values_of(y) - values_of(x)) <= 0.5 * step + 1e-12 * reach).all()


def test_conversion_to_numpy_honours_dtype_and_copy():
    x = lpnum.array([1.0, 2.0], scale=1.0)
    assert np.asarray(x).dtype == np.float64
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    assert np.asarray(x, dtype=np.int64).tolist() == [1, 2]
    assert np.array(x, copy=True).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"without a copy; use x\.dequantize"):
        np.array(x, copy=False)
    assert isinstance(np.asarray(lpnum.array(1.0)), np.ndarray)
    assert x.astype(np.float32).dtype == np.float32
    assert x.astype("float16").dtype == np.float16
    assert lpnum.asarray(x) is x


# ---- pickling, copying, representation -----------------------------------------------------------------------------


@given(x=testing.lp_arrays())
def test_pickle_and_copy_round_trip(x):
    for protocol in (2, 4, 5):
        testing.assert_same(pickle.loads(pickle.dumps(x, protocol)), x)
    for y in (copy.copy(x), copy.deepcopy(x), x.copy()):
        testing.assert_same(y, x)
        assert not np.may_share_memory(y.codes, x.codes) or not x.size


def test_pickle_keeps_policies_and_continues_the_random_stream():
    x = lpnum.zeros(500, scale=1.0, rounding="stochastic", overflow="error", rng=CounterRNG(5, 3))
    y = pickle.loads(pickle.dumps(x))
    for w in (x, y):
        w += 0.3
    np.testing.assert_array_equal(x.codes, y.codes)
    assert (y.rounding, y.overflow, y.rng.seed, y.rng.stream) == ("stochastic", "error", 5, 4)


def test_repr_shows_values_format_and_grid():
    assert repr(lpnum.array([1.0, 2.0], scale=0.5)) == "LPArray([1., 2.], format=lpnum.fixed8, scale=0.5)"
    assert "offset=array of shape (2,)" in repr(lpnum.zeros(2, offset=np.ones(2)))
    assert repr(lpnum.fixed(8, frac=4, signed=False)) == "lpnum.fixed(8, frac=4, signed=False)"
    for fmt in (lpnum.fixed8, lpnum.ufixed4, lpnum.fixed(7), lpnum.fixed(9, frac=-2)):
        assert eval(repr(fmt)) == fmt
    assert str(lpnum.array([1.0, 2.0], scale=0.5)) == "[1. 2.]"


# ---- memory --------------------------------------------------------------------------------------------------------


def traced_peak(action):
    tracemalloc.start()
    try:
        action()
        tracemalloc.reset_peak()
        base = tracemalloc.get_traced_memory()[0]
        result = action()
        return tracemalloc.get_traced_memory()[1] - base, result
    finally:
        tracemalloc.stop()


def test_an_array_of_n_elements_takes_n_bytes():
    for n in (1_000, 100_000, 10_000_000):
        peak, x = traced_peak(lambda n=n: lpnum.zeros(n, dtype=lpnum.fixed8, scale=0.1))
        assert x.nbytes == n
        assert n <= peak < n + 4096


@pytest.mark.parametrize("rounding", ["nearest-even", "stochastic"])
def test_in_place_updates_allocate_a_fixed_amount(rounding):
    n = 1_000_000
    w = lpnum.zeros(n, scale=0.01, offset=np.zeros(n), rounding=rounding, rng=0)
    x = lpnum.zeros(n, scale=0.03)
    step = np.random.default_rng(0).normal(0, 0.1, n)
    step32, strided = step.astype(np.float32), np.zeros(2 * n)[::2]

    def update():
        nonlocal w
        w -= step
        w += step32
        w += strided
        w += x
        w *= 0.5
        w /= 2.0
        w[...] = step
        lpnum.quantize(step32, out=w)
        w.recenter(scale=0.02)

    peak, _ = traced_peak(update)
    assert peak < 16_384


def test_a_float_is_calibrated_only_if_that_is_asked_for():
    values = np.array([1e-4, -3e-3, 2e-3])
    assert lpnum.array(values, dtype=lpnum.float8_e4m3fn).scale == 1.0
    x = lpnum.array(values, dtype=lpnum.float8_e4m3fn, calibration="absmax")
    assert x.scale == 3e-3 / 448
    np.testing.assert_allclose(np.asarray(x), values, rtol=2**-4)
