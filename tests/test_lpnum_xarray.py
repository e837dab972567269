"""LPArrays inside xarray: coordinates and names on top, the format kept below; reductions are plain and right."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum.testing import assert_same

xr = pytest.importorskip("xarray", reason="needs xarray")

VALUES = np.random.default_rng(0).normal(size=(6, 8))
ARRAYS = {
    "fixed8": lpnum.array(VALUES),
    "rows": lpnum.array(VALUES, axis=0),
    "float8": lpnum.array(VALUES, dtype=lpnum.float8_e4m3fn),
}
COORDINATES = {"t": np.arange(6), "s": np.arange(8.0), "group": ("t", [1, 1, 2, 2, 2, 3])}


@pytest.fixture(params=list(ARRAYS))
def x(request: pytest.FixtureRequest) -> lpnum.LPArray:
    """One array of each kind: fixed point, a scale for each row, small floats."""
    return ARRAYS[request.param].copy()


def wrapped(x: Any) -> Any:
    return xr.DataArray(x, dims=("t", "s"), coords=COORDINATES, name="x")


def test_a_data_array_holds_the_lparray_itself_and_gives_values_when_asked(x: lpnum.LPArray) -> None:
    a = wrapped(x)
    assert a.data is x
    assert a.dtype == x.dtype
    assert a.nbytes == x.nbytes
    for values in (a.values, a.to_numpy(), np.asarray(a), a.as_numpy().data):
        assert type(values) is np.ndarray
        np.testing.assert_array_equal(values, x.dequantize())


KEPT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "a + a": (lambda a: a + a, lambda x: x + x),
    "a + 1": (lambda a: a + 1, lambda x: x + 1),
    "2 * a": (lambda a: 2 * a, lambda x: 2 * x),
    "-a": (lambda a: -a, lambda x: -x),
    "abs": (abs, abs),
    "exp": (np.exp, np.exp),
    "a * row": (lambda a: a * xr.DataArray(np.arange(1.0, 9.0), dims="s"), lambda x: x * np.arange(1.0, 9.0)),
    "a + ndarray": (lambda a: a + VALUES, lambda x: x + VALUES),
    "clip": (lambda a: a.clip(-1, 1), lambda x: x.clip(-1, 1)),
    "isel": (lambda a: a.isel(t=slice(1, 5), s=[0, 3]), lambda x: x[1:5][:, [0, 3]]),
    "isel row": (lambda a: a.isel(t=2), lambda x: x[2]),
    "sel": (lambda a: a.sel(s=[2.0, 5.0]), lambda x: x[:, [2, 5]]),
    "nearest": (lambda a: a.sel(s=2.2, method="nearest"), lambda x: x[:, 2]),
    "by condition": (lambda a: a[a.group == 2], lambda x: x[2:5]),
    "points": (
        lambda a: a.isel(t=xr.DataArray([0, 1], dims="p"), s=xr.DataArray([2, 3], dims="p")),
        lambda x: x[[0, 1], [2, 3]],
    ),
    "transpose": (lambda a: a.transpose("s", "t"), lambda x: x.T),
    "stack": (lambda a: a.stack(z=("t", "s")), lambda x: x.reshape(48)),
    "expand_dims": (lambda a: a.expand_dims("q"), lambda x: x[None]),
    "roll": (lambda a: a.roll(t=1), lambda x: np.roll(x, 1, 0)),
    "diff": (lambda a: a.diff("t"), lambda x: np.diff(x, axis=0)),
    "sortby": (lambda a: a.sortby("s", ascending=False), lambda x: x[:, ::-1]),
    "reindex": (lambda a: a.reindex(s=[1.0, 0.0]), lambda x: x[:, [1, 0]]),
    "concat": (lambda a: xr.concat([a, a], dim="t"), lambda x: np.concatenate([x, x])),
    "concat new": (lambda a: xr.concat([a, a], dim="q"), lambda x: np.stack([x, x])),
    "zeros_like": (xr.zeros_like, np.zeros_like),
    "apply_ufunc": (lambda a: xr.apply_ufunc(lambda x: 2 * x, a), lambda x: 2 * x),
    "copy": (lambda a: a.copy(deep=True), lambda x: x),
    "pickle": (lambda a: pickle.loads(pickle.dumps(a)), lambda x: x),
    "dataset": (lambda a: xr.Dataset({"x": a}).isel(t=slice(2))["x"], lambda x: x[:2]),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_xarray_does_is_what_the_array_does_and_keeps_the_format(x: lpnum.LPArray, name: str) -> None:
    with_xarray, without = KEPT[name]
    result, expected = with_xarray(wrapped(x)), without(x)
    assert isinstance(result, xr.DataArray)
    assert isinstance(result.data, lpnum.LPArray)
    assert result.data.format == expected.format
    np.testing.assert_array_equal(result.data.codes, expected.codes)
    np.testing.assert_array_equal(result.data.dequantize(), expected.dequantize())


def test_an_array_before_a_data_array_gives_a_data_array(x: lpnum.LPArray) -> None:
    a = wrapped(x)
    for result in (x + a, np.add(x, a), np.multiply(x, a), x > a):
        assert isinstance(result, xr.DataArray)
        assert set(result.coords) == set(COORDINATES)


REDUCED: dict[str, Callable[[Any], Any]] = {
    "sum": lambda a: a.sum(),
    "sum t": lambda a: a.sum("t"),
    "mean": lambda a: a.mean(),
    "mean s": lambda a: a.mean("s"),
    "mean without skipna": lambda a: a.mean("t", skipna=False),
    "std": lambda a: a.std("s"),
    "var": lambda a: a.var(),
    "min": lambda a: a.min("t"),
    "max": lambda a: a.max(),
    "median": lambda a: a.median("t"),
    "quantile": lambda a: a.quantile(0.25, "t"),
    "argmax": lambda a: a.argmax("t"),
    "idxmax": lambda a: a.idxmax("s"),
    "count": lambda a: a.count("t"),
    "cumsum": lambda a: a.cumsum("t"),
    "greater": lambda a: a > 0,
    "dot": lambda a: a @ xr.DataArray(np.arange(8.0), dims="s"),
    "dot self": lambda a: xr.dot(a, a, dim="t"),
    "groupby mean": lambda a: a.groupby("group").mean(),
    "groupby sum": lambda a: a.groupby("group").sum(),
    "groupby max": lambda a: a.groupby("group").max(),
    "coarsen": lambda a: a.drop_vars("group").coarsen(t=2).mean(),
    "rolling": lambda a: a.rolling(t=3).mean(),
    "weighted": lambda a: a.weighted(xr.DataArray(np.arange(8.0), dims="s")).mean("s"),
    "interp": lambda a: a.interp(s=[0.5]),
    "polyfit": lambda a: a.polyfit("s", 1).polyfit_coefficients,
    "dataset": lambda a: xr.Dataset({"x": a}).mean("t")["x"],
}


@pytest.mark.parametrize("name", REDUCED)
def test_reductions_are_plain_and_those_of_the_values(x: lpnum.LPArray, name: str) -> None:
    if name in ("interp", "polyfit"):
        pytest.importorskip("scipy", reason="needs scipy")
    result, expected = REDUCED[name](wrapped(x)), REDUCED[name](wrapped(x.dequantize()))
    assert type(result.data) is np.ndarray
    xr.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_what_xarray_computes_elementwise_is_rounded_unless_made_plain_before(x: lpnum.LPArray) -> None:
    # the trapezoidal rule adds neighbours as arrays of the format: each sum is rounded to its grid
    a, expected = wrapped(x), wrapped(x.dequantize()).integrate("s")
    xr.testing.assert_identical(a.as_numpy().integrate("s"), expected)
    step = 2 * np.abs(x.dequantize()).max() / (64 if x.format == lpnum.fixed8 else 8)
    assert 0 < float(np.abs(a.integrate("s") - expected).max()) < 7 * step / 2


def test_groups_are_mapped_and_centered_in_the_format(x: lpnum.LPArray) -> None:
    a, plain = wrapped(x), wrapped(x.dequantize())
    means = a.groupby("group").mean()
    for centered in (a.groupby("group") - means, a.groupby("group").map(lambda part: part - part.mean("t"))):
        assert isinstance(centered.data, lpnum.LPArray)
        np.testing.assert_array_equal(centered.data.codes, x.codes)  # a shift by plain numbers is exact
        expected = plain.groupby("group") - plain.groupby("group").mean()
        np.testing.assert_allclose(centered.values, expected.values, rtol=0, atol=1e-12)


def test_assignment_keeps_the_grid(x: lpnum.LPArray) -> None:
    a = wrapped(x.copy())
    a[0] = 0.1
    a.loc[{"s": 2.0}] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    a[{"t": 5}] = a[{"t": 4}]
    expected = x.copy()
    expected[0] = 0.1
    expected[:, 2] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    expected[5] = expected[4]
    assert_same(a.data, expected)
    a += wrapped(x)
    expected += x
    assert_same(a.data, expected)


def test_an_array_that_a_data_array_is_added_to_stays_an_array_on_its_grid(x: lpnum.LPArray) -> None:
    w, expected = x.copy(), x.copy()
    w += wrapped(VALUES)
    expected += VALUES
    assert_same(w, expected)
    w -= wrapped(x)
    expected -= x
    assert_same(w, expected)


def test_codes_go_to_packed_netcdf_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4", reason="needs netCDF4")
    for fmt, dtype in ((lpnum.fixed8, "int8"), (lpnum.fixed16, "int16")):
        x = lpnum.array(VALUES + 3, dtype=fmt)
        packed = {"dtype": dtype, "scale_factor": x.scale, "add_offset": x.offset, "_FillValue": fmt.code_min}
        wrapped(x).to_netcdf(tmp_path / "x.nc", engine="netcdf4", encoding={"x": packed})
        with xr.open_dataarray(tmp_path / "x.nc", engine="netcdf4", mask_and_scale=False) as stored:
            assert stored.dtype == dtype
            np.testing.assert_array_equal(stored.values, x.codes)
            loaded = lpnum.LPArray(stored.values, fmt, stored.attrs["scale_factor"], stored.attrs["add_offset"])
            assert_same(loaded, x)


def test_missing_values_need_a_format_that_has_them() -> None:
    condition = wrapped(VALUES) > 0
    floats = wrapped(ARRAYS["float8"]).where(condition)
    assert floats.data.format == lpnum.float8_e4m3fn
    np.testing.assert_array_equal(np.isnan(floats.values), ~condition)
    np.testing.assert_allclose(floats.mean(), ARRAYS["float8"].dequantize()[condition.values].mean(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"not numbers.*has no NaN"):
        wrapped(ARRAYS["fixed8"]).where(condition)
    filled = wrapped(ARRAYS["fixed8"]).where(condition, 0)
    assert isinstance(filled.data, lpnum.LPArray)
    np.testing.assert_array_equal(filled.values, np.where(condition, ARRAYS["fixed8"].dequantize(), 0))
    assert not wrapped(ARRAYS["fixed8"]).isnull().any()


def test_padding_with_missing_values_gives_plain_values(x: lpnum.LPArray) -> None:
    shifted = wrapped(x).shift(t=1)
    assert type(shifted.data) is np.ndarray
    xr.testing.assert_identical(shifted, wrapped(x.dequantize()).shift(t=1))


def test_equality_looks_at_values(x: lpnum.LPArray) -> None:
    a = wrapped(x)
    assert a.identical(a.copy(deep=True))
    assert not a.equals(a + 1)
    xr.testing.assert_allclose(a, a.copy(deep=True))
    with pytest.raises(AssertionError, match="not identical"):
        xr.testing.assert_identical(a, 2 * a)


def test_representations_show_the_format(x: lpnum.LPArray) -> None:
    a = wrapped(x)
    assert repr(x.format) in repr(a)
    assert repr(x.format) in a._repr_html_()
    row = next(line for line in repr(xr.Dataset({"x": a})).splitlines() if line.startswith("    x "))
    assert f"<{x.format!r}>".replace("lpnum.", "") in row
    assert f"{x[0, 0]:.4g}" in row
    assert f"{x[-1, -1]:.4g}" in row
    assert len(row) <= 80


@pytest.mark.parametrize(
    ("array", "width", "expected"),
    [
        (lpnum.arange(10), 40, "<fixed8> 0 1 2 3 4 5 6 7 8 9"),
        (lpnum.arange(10), 24, "<fixed8> 0 1 2 ... 7 8 9"),
        (lpnum.arange(10), 23, "<fixed8> 0 1 2 ... 8 9"),
        (lpnum.arange(10), 10, "<fixed8> ..."),
        (lpnum.arange(100).reshape(10, 10), 30, "<fixed8> 0 1 2 3 ... 97 98 99"),
        (lpnum.zeros((0, 3)), 30, "<fixed8>"),
        (lpnum.array(-1.27), 30, "<fixed8> -1.27"),
        (lpnum.ones(2, dtype=lpnum.float8_e4m3fn), 40, "<float8_e4m3fn> 1 1"),
    ],
    ids=range(8),
)
def test_the_line_of_an_array_shows_both_ends_in_the_room_there_is(
    array: lpnum.LPArray, width: int, expected: str
) -> None:
    assert array._repr_inline_(width) == expected


def test_a_line_of_a_large_array_decodes_only_what_it_shows() -> None:
    x = lpnum.LPArray(np.broadcast_to(np.int8(1), (10**6, 10**6)), lpnum.fixed8)
    assert x._repr_inline_(20) == "<fixed8> 1 1 ... 1 1"


def test_arrays_go_to_netcdf_as_values(x: lpnum.LPArray, tmp_path: Path) -> None:
    pytest.importorskip("netCDF4", reason="needs netCDF4")
    a = wrapped(x)
    a.to_netcdf(tmp_path / "x.nc", engine="netcdf4")
    with xr.open_dataarray(tmp_path / "x.nc", engine="netcdf4") as loaded:
        np.testing.assert_array_equal(loaded.values, x.dequantize())


def test_arrays_go_to_pandas_as_values(x: lpnum.LPArray) -> None:
    pytest.importorskip("pandas")
    np.testing.assert_array_equal(wrapped(x).to_pandas().to_numpy(), x.dequantize())
    np.testing.assert_array_equal(wrapped(x).to_series().to_numpy(), x.dequantize().ravel())


def test_chunks_of_a_data_array_are_lparrays(x: lpnum.LPArray) -> None:
    pytest.importorskip("dask.array", reason="needs dask")
    a = wrapped(x)
    chunked = a.chunk({"t": 2})
    assert isinstance(chunked.data._meta, lpnum.LPArray)
    assert_same(chunked.compute().data, x)
    for sum_ in (chunked + a, a + chunked):
        assert_same(sum_.compute().data, x + x)
    xr.testing.assert_allclose(chunked.mean("t").compute(), wrapped(x.dequantize()).mean("t"), rtol=1e-12)
    mapped = xr.map_blocks(lambda part: 2 * part, chunked).compute()
    assert_same(mapped.data, 2 * x)
