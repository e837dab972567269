"""CF packing, zero points and Zarr's scale: the values of the other convention, and the same codes back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import testing

STORED = st.sampled_from([lpnum.fixed8, lpnum.ufixed8, lpnum.fixed16, lpnum.ufixed16])
WHOLE = testing.lp_arrays(fmt=STORED, metadata=("scalar",))


def test_the_three_conventions_say_the_same_of_one_array():
    codes = np.array([-100, 0, 27], np.int8)
    cf = lpnum.from_cf(codes, scale_factor=0.25, add_offset=2.5)
    zero_point = lpnum.from_zero_point(codes, scale=0.25, zero_point=-10)
    zarr = lpnum.from_zarr_scale_offset(codes, scale=4, offset=2.5)
    for x in (cf, zero_point, zarr):
        testing.assert_same(x, lpnum.from_codes(codes, scale=0.25, offset=2.5))
        assert np.shares_memory(x.codes, codes)


# ---- CF -------------------------------------------------------------------------------------------------------------


@given(x=WHOLE)
def test_cf_attributes_restore_the_array(x):
    codes, attributes = lpnum.to_cf(x)
    assert codes is x.codes
    back = lpnum.from_cf(codes, attributes["scale_factor"], attributes["add_offset"])
    testing.assert_same(back, x)
    assert back.dtype == x.dtype


def test_a_binary_point_becomes_part_of_the_scale_factor():
    x = lpnum.array([1.5, -2.25], dtype=lpnum.fixed(8, frac=4))
    codes, attributes = lpnum.to_cf(x)
    assert attributes["scale_factor"] == 1 / 16
    np.testing.assert_array_equal(np.asarray(lpnum.from_cf(codes, **attributes)), np.asarray(x))


def test_values_have_the_dtype_of_the_attributes():
    codes = np.array([1, 2], np.int16)
    one, two = np.float32(0.1), np.float64(0.1)
    assert lpnum.from_cf(codes, one, np.float32(3)).dtype == np.float32
    assert lpnum.from_cf(codes, one).dtype == np.float32
    assert lpnum.from_cf(codes, one, two).dtype == np.float64
    assert lpnum.from_cf(codes, 0.1).dtype == lpnum.from_cf(codes).dtype == np.float64
    assert lpnum.from_cf(codes, one).scale == float(one)
    _, attributes = lpnum.to_cf(lpnum.from_cf(codes, one))
    assert isinstance(attributes["scale_factor"], np.float32)
    _, attributes = lpnum.to_cf(lpnum.LPArray(codes, "fixed16", 0.1, dtype=np.float32))
    assert isinstance(attributes["scale_factor"], np.float64)  # 0.1 is none of float32


def test_missing_values_are_an_error_unless_said_otherwise():
    codes = np.array([[5, -999], [7, -999]], np.int16)
    with pytest.raises(ValueError, match=r"2 of 4 values are missing \(first at index \(0, 1\)\).*missing='mask'"):
        lpnum.from_cf(codes, 0.5, fill_value=-999)
    x, mask = lpnum.from_cf(codes, 0.5, fill_value=-999, missing="mask")
    assert mask.tolist() == [[False, True], [False, True]]
    assert np.shares_memory(x.codes, codes)
    filled = lpnum.from_cf(codes, 0.5, fill_value=[-999, 7], missing=-1.2)
    assert np.asarray(filled).tolist() == [[2.5, -1.0], [-1.0, -1.0]]
    assert codes[0, 1] == -999
    back, attributes = lpnum.to_cf(x, fill_value=-999, mask=mask)
    np.testing.assert_array_equal(back, codes)
    assert attributes["_FillValue"] == np.int16(-999)
    assert isinstance(attributes["_FillValue"], np.int16)
    moved, _ = lpnum.to_cf(x, fill_value=0, mask=mask)
    assert moved.tolist() == [[5, 0], [7, 0]]


@pytest.mark.parametrize("fill", [np.nan, 1e20, 0.5, -40000, np.float32("nan"), [np.nan, 1e36], None])
def test_a_fill_value_that_is_no_code_marks_nothing(fill):
    codes = np.array([0, 1, -32768], np.int16)
    assert np.shares_memory(lpnum.from_cf(codes, fill_value=fill).codes, codes)
    assert not lpnum.from_cf(codes, fill_value=fill, missing="mask")[1].any()


def test_unsigned_bytes_of_netcdf_3_and_masked_arrays_are_understood():
    x, mask = lpnum.from_cf(np.array([-1, 3], np.int8), 2.0, fill_value=-1, unsigned=True, missing="mask")
    assert x.format == lpnum.ufixed8
    assert np.asarray(x).tolist() == [510, 6]
    assert mask.tolist() == [True, False]
    masked = np.ma.array([1, 2, 3], np.int16, mask=[0, 0, 1])
    with pytest.raises(ValueError, match="1 of 3 values are missing"):
        lpnum.from_cf(masked)
    assert lpnum.from_cf(masked, missing="mask")[1].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: lpnum.from_cf(np.ones(2)), TypeError, "expected int8"),
        (lambda: lpnum.from_cf(np.ones(2, np.float16)), TypeError, "packed data are integers"),
        (lambda: lpnum.from_cf(np.ones(2, np.int8), 0.0), ValueError, "must not be 0"),
        (lambda: lpnum.from_cf(np.ones(2, np.int8), missing="drop"), ValueError, "'error', 'mask' or a number"),
        (lambda: lpnum.to_cf(np.ones(2)), TypeError, "expected an LPArray"),
        (lambda: lpnum.to_cf(lpnum.ones(2, "float8_e5m2")), TypeError, "needs integer codes"),
        (lambda: lpnum.to_cf(lpnum.zeros(2, scale=[1.0, 2.0])), ValueError, "single numbers"),
        (lambda: lpnum.to_cf(lpnum.ones(2), mask=[True, False]), ValueError, "needs a fill_value"),
        (lambda: lpnum.to_cf(lpnum.ones(2), 1), ValueError, "2 values have the code 1, the fill_value"),
        (lambda: lpnum.to_cf(lpnum.ones(2), 300), ValueError, "fill_value must be one of int8"),
        (lambda: lpnum.from_zero_point(np.ones(2), 1.0), TypeError, "expected int8"),
        (lambda: lpnum.from_zero_point(np.ones(2, np.int8), 1.0, 0.5), TypeError, "must be integers"),
        (lambda: lpnum.from_zero_point(np.ones(2, np.int8), -1.0), ValueError, "greater than 0"),
        (lambda: lpnum.from_zero_point(np.ones(2, np.int8), [1.0, 2.0], axis=1), ValueError, "axis 1 is out of range"),
        (lambda: lpnum.from_zero_point([1], 1.0, dtype="bfloat16"), TypeError, "fixed-point format"),
        (lambda: lpnum.to_zero_point(lpnum.ones(2, "bfloat16")), TypeError, "needs integer codes"),
        (lambda: lpnum.to_zero_point(-lpnum.ones(2)), ValueError, "positive scales"),
        (lambda: lpnum.to_zero_point(lpnum.zeros(2, offset=0.5)), ValueError, "offset 0.5 is not a multiple"),
        (lambda: lpnum.to_zero_point(lpnum.zeros(2, offset=-128.0)), ValueError, "128 is not in the range of int8"),
        (lambda: lpnum.from_zarr_scale_offset(np.ones(2, np.int8), scale=0), ValueError, "must not be 0"),
        (lambda: lpnum.to_zarr_scale_offset(lpnum.zeros(2, scale=[1.0, 2.0])), ValueError, "vary"),
        (lambda: lpnum.to_zarr_scale_offset(lpnum.zeros(2, "bfloat16")), TypeError, "needs integer codes"),
    ],
)
def test_bad_calls_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def netcdf(path):
    """A small file like those of ERA-Interim: big-endian, a negative scale factor, NaN as missing value of integers."""
    netcdf_file = pytest.importorskip("scipy.io").netcdf_file
    codes = np.random.default_rng(0).integers(-32766, 32767, (2, 3, 5)).astype(np.int16)
    with netcdf_file(path, "w") as file:
        for name, n in zip("tyx", codes.shape, strict=True):
            file.createDimension(name, n)
        u = file.createVariable("u", "i2", tuple("tyx"))
        u[:] = codes
        u.scale_factor, u.add_offset = np.float64(-0.001572704938045535), np.float64(26.96875)
        u.missing_value = np.float64(np.nan)
        v = file.createVariable("v", "i2", tuple("tyx"))
        v[:] = np.where(codes > 0, codes, np.int16(-32767))
        v.scale_factor, v.add_offset, v._FillValue = np.float32(0.01), np.float32(-3.5), np.int16(-32767)
    return codes


def test_a_netcdf_file_is_read_from_its_attributes(tmp_path):
    codes = netcdf(tmp_path / "x.nc")
    from scipy.io import netcdf_file

    with netcdf_file(tmp_path / "x.nc", "r", mmap=False) as file:
        u, v = file.variables["u"], file.variables["v"]
        assert u[:].dtype == ">i2"
        x = lpnum.from_cf(u[:], u.scale_factor, u.add_offset, u.missing_value)
        y, mask = lpnum.from_cf(v[:], v.scale_factor, v.add_offset, v._FillValue, missing="mask")
    np.testing.assert_array_equal(x.codes, codes)
    np.testing.assert_array_equal(np.asarray(x), codes * -0.001572704938045535 + 26.96875)
    np.testing.assert_array_equal(mask, codes <= 0)
    np.testing.assert_array_equal(lpnum.to_cf(y, -32767, mask=mask)[0], y.codes)


def test_xarray_decodes_to_the_same_values(tmp_path):
    xarray = pytest.importorskip("xarray")
    netcdf(tmp_path / "x.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that NaN is no fill value of integers
        raw = xarray.load_dataset(tmp_path / "x.nc", mask_and_scale=False, engine="scipy")
        decoded = xarray.load_dataset(tmp_path / "x.nc", engine="scipy")
    u = raw["u"]
    x = lpnum.from_cf(u.values, u.attrs["scale_factor"], u.attrs["add_offset"], u.attrs["missing_value"])
    np.testing.assert_array_equal(np.asarray(x), decoded["u"].values)
    v = raw["v"]
    y, mask = lpnum.from_cf(
        v.values, v.attrs["scale_factor"], v.attrs["add_offset"], v.attrs["_FillValue"], missing="mask"
    )
    np.testing.assert_array_equal(mask, np.isnan(decoded["v"].values))
    np.testing.assert_allclose(np.asarray(y)[~mask], decoded["v"].values[~mask], rtol=1e-6)


def test_xarray_and_netcdf4_read_what_to_cf_gives(tmp_path):
    netcdf4 = pytest.importorskip("netCDF4")
    x = lpnum.array(np.random.default_rng(1).normal(size=(4, 6)), lpnum.fixed16, calibration="minmax")
    codes, attributes = lpnum.to_cf(x, fill_value=-32768) if (x.codes != -32768).all() else lpnum.to_cf(x)
    with netcdf4.Dataset(tmp_path / "x.nc", "w") as file:
        file.createDimension("a", 4)
        file.createDimension("b", 6)
        variable = file.createVariable("x", codes.dtype, ("a", "b"), fill_value=attributes.pop("_FillValue", None))
        variable.setncatts(attributes)
        variable.set_auto_maskandscale(False)
        variable[:] = codes
    with netcdf4.Dataset(tmp_path / "x.nc") as file:
        np.testing.assert_array_equal(np.ma.getdata(file["x"][:]), np.asarray(x))


# ---- zero points ----------------------------------------------------------------------------------------------------


@given(
    fmt=STORED,
    scale=st.floats(2.0**-20, 2.0**20),
    data=st.data(),
)
def test_zero_points_come_back_and_0_is_exact(fmt, scale, data):
    zero_point = data.draw(st.integers(fmt.code_min, fmt.code_max))
    codes = np.array([fmt.code_min, zero_point, fmt.code_max], fmt.storage)
    x = lpnum.from_zero_point(codes, scale, zero_point)
    assert float(x[1]) == 0
    np.testing.assert_allclose(
        np.asarray(x), scale * (codes.astype(float) - zero_point), rtol=1e-14, atol=1e-10 * scale
    )
    back, same_scale, same_point = lpnum.to_zero_point(x)
    assert back is x.codes
    assert (same_scale, same_point) == (scale, zero_point)
    assert isinstance(same_point, int)


def test_zero_points_per_channel_run_along_an_axis():
    codes = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for axis, n in ((0, 2), (1, 3), (-1, 3)):
        scale, points = np.arange(1, n + 1) / 4, np.arange(n)
        x = lpnum.from_zero_point(codes, scale, points, axis=axis)
        shape = (-1, 1) if axis == 0 else (1, -1)
        np.testing.assert_array_equal(
            np.asarray(x), scale.reshape(shape) * (codes - points.reshape(shape).astype(float))
        )
        _, same_scale, same_points = lpnum.to_zero_point(x)
        np.testing.assert_array_equal(np.ravel(same_scale), scale)
        np.testing.assert_array_equal(np.ravel(same_points), points)
        assert same_points.dtype == np.int64


def test_formats_below_a_byte_and_binary_points_have_zero_points():
    x = lpnum.from_zero_point([0, 8, 15], 0.5, 8, dtype=lpnum.ufixed4)
    assert np.asarray(x).tolist() == [-4, 0, 3.5]
    y = lpnum.array([1.5, -2.25], dtype=lpnum.fixed(8, frac=4))
    codes, scale, point = lpnum.to_zero_point(y)
    assert (codes.tolist(), scale, point) == ([24, -36], 1 / 16, 0)
    with pytest.raises(ValueError, match="codes from 0 to 16"):
        lpnum.from_zero_point([0, 16], 0.5, 8, dtype=lpnum.ufixed4)


# ---- Zarr -----------------------------------------------------------------------------------------------------------


@given(x=WHOLE)
def test_zarrs_inverse_scale_restores_the_values(x):
    codes, configuration = lpnum.to_zarr_scale_offset(x)
    assert codes is x.codes
    back = lpnum.from_zarr_scale_offset(codes, **configuration)
    bound = 4 * np.finfo(float).eps * (abs(x.offset) + abs(x.scale) * 65536)
    np.testing.assert_allclose(np.asarray(back), np.asarray(x), rtol=0, atol=bound)


def test_numcodecs_encodes_and_decodes_the_same():
    numcodecs = pytest.importorskip("numcodecs")
    values = np.linspace(1000, 1001, 11)
    codec = numcodecs.FixedScaleOffset(offset=1000, scale=100, dtype="f8", astype="u1")
    x = lpnum.from_zarr_scale_offset(codec.encode(values), scale=codec.scale, offset=codec.offset)
    assert x.scale == 0.01
    np.testing.assert_allclose(np.asarray(x), codec.decode(codec.encode(values)), rtol=1e-15)
    codes, configuration = lpnum.to_zarr_scale_offset(x)
    again = numcodecs.FixedScaleOffset(dtype="f8", astype="u1", **configuration)
    np.testing.assert_array_equal(again.encode(np.asarray(x)), codes)
