"""Pictures: what is drawn is what the formats and the errors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum.rounding import ROUNDING_MODES

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib")
matplotlib.use("Agg")

NAMED = lpnum.formats.named()
SMALL = [name for name, fmt in NAMED.items() if fmt.bits <= 8]


@pytest.fixture
def ax() -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 3), layout="constrained").subplots()


def marks(ax: Any) -> dict[str, np.ndarray]:
    """Positions of the marks of each kind, from the artists themselves."""
    found = {}
    for artist in ax.collections:
        if artist.get_gid():
            found[artist.get_gid()] = np.array([segment[0][0] for segment in artist.get_segments()])
    return found


def finite_values(fmt: Any) -> np.ndarray:
    values = lpnum.decode(fmt.all_codes(), fmt, np.float64)
    return np.unique(values[np.isfinite(values)])


def drawn(figure_axes: Any) -> None:
    """Render: layout, labels and legends must not warn (warnings are errors here)."""
    figure_axes.figure.canvas.draw()


# ---- number_line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("xscale", ["linear", "symlog"])
def test_number_line_marks_every_finite_value_of_a_format_once(name: str, xscale: str, ax: Any) -> None:
    fmt = NAMED[name]
    assert lpnum.plotting.number_line(fmt, ax, xscale=xscale) is ax
    found = marks(ax)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(found.values()))), finite_values(fmt))
    if isinstance(fmt, lpnum.FloatFormat):
        subnormal = found.get(f"{name}:subnormal", np.zeros(0))
        assert (np.abs(subnormal) < fmt.smallest_normal).all()
        assert (np.abs(found[f"{name}:normal"]) >= fmt.smallest_normal).all()
        negative = 2 if fmt.signed else 1
        has_zero = 0.0 in finite_values(fmt)
        assert subnormal.size == (negative * ((1 << fmt.mantissa_bits) - 1) if has_zero else 0)
    low, high = ax.get_xlim()
    assert low < fmt.min
    assert fmt.max < high
    drawn(ax)


def test_number_line_of_a_logarithmic_axis_marks_the_positive_values(ax: Any) -> None:
    lpnum.plotting.number_line("float8_e5m2", ax, xscale="log")
    values = finite_values(lpnum.float8_e5m2)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(marks(ax).values()))), values[values > 0])
    drawn(ax)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "fixed16", "ufixed16"])
@pytest.mark.parametrize("xscale", ["linear", "symlog", "log"])
def test_formats_of_16_bits_are_thinned_to_values_of_theirs_that_leave_no_gap(name: str, xscale: str, ax: Any) -> None:
    fmt = NAMED[name]
    lpnum.plotting.number_line(fmt, ax, xscale=xscale)
    found = np.sort(np.concatenate(list(marks(ax).values())))
    values = finite_values(fmt)
    values = values[values > 0] if xscale == "log" else values
    assert found.size <= 3 * 2048
    assert np.isin(found, values).all()
    # wherever there is a value, one is drawn within a two-thousandth of the picture's width
    low, high = ax.transScale.transform([(end, 0.5) for end in ax.get_xlim()])[:, 0]
    at, places = (ax.transScale.transform(np.column_stack([v, np.zeros(v.size)]))[:, 0] for v in (found, values))
    nearest = np.minimum(
        np.abs(places - at[np.clip(np.searchsorted(at, places), 0, at.size - 1)]),
        np.abs(places - at[np.clip(np.searchsorted(at, places) - 1, 0, at.size - 1)]),
    )
    assert nearest.max() <= (high - low) / 2000


def test_number_line_puts_several_formats_below_each_other_in_the_order_given(ax: Any) -> None:
    names = ["float8_e4m3fn", "fixed8", "float8_e8m0fnu"]
    lpnum.plotting.number_line(names, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    heights = ax.get_yticks()
    assert list(heights) == sorted(heights, reverse=True)
    for name in names:
        row = np.concatenate([where for gid, where in marks(ax).items() if gid.split(":")[0] == name])
        np.testing.assert_array_equal(np.sort(row), finite_values(NAMED[name]))
    remarks = [text.get_text() for text in ax.texts]
    assert remarks == ["253 values\nNaN, -0", "256 values", "255 values\nNaN"]
    drawn(ax)


def test_number_line_of_an_array_is_its_grid(ax: Any) -> None:
    x = lpnum.array([0.0, 3.0], dtype=lpnum.fixed4, scale=0.5, offset=10.0)
    lpnum.plotting.number_line(x, ax)
    expected = 10.0 + 0.5 * np.arange(-8, 8)
    np.testing.assert_allclose(np.sort(np.concatenate(list(marks(ax).values()))), expected)
    assert ax.get_yticklabels()[0].get_text() == "fixed4\n\N{MULTIPLICATION SIGN} 0.5 + 10"
    channels = lpnum.array(np.ones((2, 2)), axis=0)
    with pytest.raises(ValueError, match="several scales"):
        lpnum.plotting.number_line(channels, ax)


def test_number_line_shows_the_range_asked_for(ax: Any) -> None:
    lpnum.plotting.number_line("float8_e4m3fn", ax, xscale="linear", low=-2, high=2)
    assert ax.get_xlim() == (-2, 2)
    values = finite_values(lpnum.float8_e4m3fn)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(marks(ax).values()))), values[np.abs(values) <= 2])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "no format"),
        (("fixd8",), {}, "did you mean fixed8"),
        (("fixed8",), {"xscale": "logarithmic"}, "is not one of"),
        (("float16",), {"xscale": "log", "low": -1.0}, "greater than 0"),
    ],
)
def test_number_line_refuses_what_it_cannot_draw(arguments: Any, options: Any, message: str, ax: Any) -> None:
    with pytest.raises(ValueError, match=message):
        lpnum.plotting.number_line(*arguments, ax, **options)


def test_marks_of_powers_of_two_are_the_longest(ax: Any) -> None:
    lpnum.plotting.number_line("float8_e4m3fn", ax)
    marked = next(artist for artist in ax.collections if artist.get_gid() == "float8_e4m3fn:normal")
    length = {segment[0][0]: segment[1][1] - segment[0][1] for segment in marked.get_segments()}
    longest = max(length.values())
    for value, tall in length.items():
        assert (tall == longest) == (np.log2(abs(value)) % 1 == 0), value
    assert length[1.0] > length[1.5] > length[1.25] > length[1.125]


# ---- rounding_error --------------------------------------------------------------------------------------------------


def curves(ax: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x and the error, x and the bound."""
    error, bound = ax.lines
    assert error.get_label().startswith("error")
    assert bound.get_label().startswith("bound")
    return *error.get_data(), *bound.get_data()


@pytest.mark.parametrize("rounding", ROUNDING_MODES)
@pytest.mark.parametrize("error", ["relative", "absolute"])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float4_e2m1fn", "fixed8", "bfloat16"])
def test_the_error_of_rounding_stays_below_the_bound_and_reaches_it(
    name: str, error: str, rounding: str, ax: Any
) -> None:
    fmt = NAMED[name]
    lpnum.plotting.rounding_error(fmt, ax, rounding=rounding, error=error)
    x, measured, at, bound = curves(ax)
    inside = x <= fmt.max
    np.testing.assert_array_equal(at, x[inside])
    floor = ax.get_ylim()[0]
    assert (measured[inside] <= np.maximum(bound * (1 + 1e-12), floor)).all()
    # just above a power of two the bound is nearly attained; stochastic rounding is one draw at each point
    share = 0.5 if rounding == "stochastic" else 0.8
    assert (measured[inside] / bound).max() > share


def test_the_bound_is_half_of_eps_for_normal_values_and_grows_below() -> None:
    fmt = lpnum.float8_e4m3fn
    axis = lpnum.plotting.rounding_error(fmt)
    _, _, x, bound = curves(axis)
    np.testing.assert_array_equal(bound[x >= fmt.smallest_normal], fmt.eps / 2)
    below = (x < fmt.smallest_normal) & (x >= fmt.smallest_subnormal / 2)
    np.testing.assert_allclose(bound[below], fmt.smallest_subnormal / 2 / x[below])
    assert (bound[x < fmt.smallest_subnormal / 2] == 1).all()
    matplotlib.pyplot.close(axis.figure)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "fixed8", "float6_e2m3fn"])
def test_the_drawn_error_is_that_of_the_nearest_value_by_search(name: str, ax: Any) -> None:
    fmt = NAMED[name]
    lpnum.plotting.rounding_error(fmt, ax)
    x, measured, _, _ = curves(ax)
    nearest = np.abs(finite_values(fmt)[:, None] - x).min(axis=0)
    np.testing.assert_allclose(measured, np.maximum(nearest / x, ax.get_ylim()[0]), rtol=1e-12)
    above = x > 2 * fmt.max
    np.testing.assert_allclose(measured[above], 1 - fmt.max / x[above])
    drawn(ax)


def test_regions_of_saturation_and_of_subnormals_are_marked_where_they_are(ax: Any) -> None:
    lpnum.plotting.rounding_error("float8_e5m2", ax)
    regions = {patch.get_label(): (patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches}
    fmt = lpnum.float8_e5m2
    low, high = ax.get_xlim()
    assert regions == {"subnormal": (low, fmt.smallest_normal), "saturates": (fmt.max, high)}


def test_a_range_with_negative_values_is_linear_and_saturates_on_both_sides(ax: Any) -> None:
    lpnum.plotting.rounding_error("fixed8", ax, low=-200, high=200, error="absolute")
    assert ax.get_xscale() == "linear"
    x, measured, _, bound = curves(ax)
    np.testing.assert_array_equal(bound, 0.5)
    np.testing.assert_allclose(measured[x < -128.5], -128 - x[x < -128.5])
    assert [patch.get_x() for patch in ax.patches] == [127, -200]
    drawn(ax)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_format_has_a_picture_of_its_errors(name: str, ax: Any) -> None:
    lpnum.plotting.rounding_error(name, ax)
    x, measured, _, _ = curves(ax)
    assert np.isfinite(measured).all()
    column = (ax.get_xlim()[1] / ax.get_xlim()[0]) ** (1 / 1200)
    assert x[0] <= column * ax.get_xlim()[0]
    assert x[-1] >= ax.get_xlim()[1] / column


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "nearest"}, "did you mean 'nearest-even'"),
        ({"error": "ulp"}, "is not one of 'relative', 'absolute'"),
        ({"low": 2.0, "high": 1.0}, "low < high"),
        ({"high": np.inf}, "finite"),
        ({"low": -1.0}, "unsigned"),
    ],
)
def test_rounding_error_refuses_what_it_cannot_draw(options: Any, message: str, ax: Any) -> None:
    with pytest.raises(ValueError, match=message):
        lpnum.plotting.rounding_error("ufixed8", ax, **options)


# ---- quantization ----------------------------------------------------------------------------------------------------


def test_histograms_of_quantization_count_every_finite_value_and_error() -> None:
    rng = np.random.default_rng(3)
    values = np.append(rng.standard_normal(5000), [np.nan, np.inf])
    x = lpnum.array(values, dtype=lpnum.float8_e4m3fn)
    left, right = lpnum.plotting.quantization(values, x)
    assert sum(bar.get_height() for bar in left.patches) == 5000
    assert sum(bar.get_height() for bar in right.patches) == 5000
    errors = np.asarray(x, np.float64)[:5000] - values[:5000]
    edges = [bar.get_x() for bar in right.patches]
    heights = [bar.get_height() for bar in right.patches]
    np.testing.assert_array_equal(heights, np.histogram(errors, np.append(edges, errors.max()))[0])
    drawn(left)
    matplotlib.pyplot.close(left.figure)


def test_quantization_draws_the_ends_of_the_grid_and_its_values() -> None:
    values = np.linspace(-10, 10, 300)
    x = lpnum.array(values, dtype=lpnum.fixed4, scale=1.0)
    left, _ = lpnum.plotting.quantization(values, x)
    assert [line.get_xdata()[0] for line in left.lines] == [-8.0, 7.0]
    np.testing.assert_array_equal(marks(left)["grid"], np.arange(-8.0, 8.0))
    matplotlib.pyplot.close(left.figure)


def test_quantization_of_channels_shows_the_widest_and_the_narrowest_grid() -> None:
    values = np.outer([1.0, 3.0, 100.0], np.linspace(-1, 1, 50))
    left, _ = lpnum.plotting.quantization(values, lpnum.array(values, axis=0))
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["widest grid: -100.8 to 100", "narrowest grid: -1.008 to 1"]
    matplotlib.pyplot.close(left.figure)


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros(0), np.full(3, np.nan), np.array(2.5)])
def test_degenerate_data_has_a_picture(values: np.ndarray) -> None:
    left, _ = lpnum.plotting.quantization(values, lpnum.array(values, dtype=lpnum.float8_e5m2))
    drawn(left)
    matplotlib.pyplot.close(left.figure)


def test_quantization_needs_values_of_the_shape_of_the_array() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), but x has shape \(2,\)"):
        lpnum.plotting.quantization([1, 2, 3], lpnum.ones(2))
