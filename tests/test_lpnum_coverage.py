"""Every function that NumPy lets us override stands in one row of the table and does what the row says.

Each example is called twice: with LPArrays, and with their values. What is low-precision must be the second result
rounded once; what is plain must equal it.
"""

from __future__ import annotations

import importlib
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from array_checks import assert_rounded
from coverage_examples import EXAMPLES, FIRST
from numpy.testing import overrides

import lpnum
from lpnum import LPArray, _array_functions, _coverage

for name in ("char", "fft", "strings", "rec", "ma"):  # NumPy imports these when they are used
    importlib.import_module(f"numpy.{name}")
FUNCTIONS = sorted(
    {_array_functions.key(f): f for f in overrides.get_overridable_numpy_array_functions()}.items(),
    key=lambda item: item[0],
)
UFUNCS = sorted({f.__name__: f for f in overrides.get_overridable_numpy_ufuncs()}.items())


KNOWN = {name for name, _ in FUNCTIONS}
# New in 2.1 or 2.4, or gone.
NOT_IN_EVERY_NUMPY = {
    "unstack",
    "cumulative_prod",
    "cumulative_sum",
    "polynomial.polynomial.polygrid2d",
    "polynomial.polynomial.polyval2d",
    "in1d",
}
TEXT_OF_OUR_OWN = {"array_repr"}


# ---- arrays of several kinds ---------------------------------------------------------------------------------------


def _arrays(kind):
    """The arrays of the examples, and the same with their values."""
    rng = np.random.default_rng(3)

    def make(values, fmt, **grid):
        return lpnum.array(np.asarray(values, float), fmt, **grid)

    x, y = rng.normal(scale=4, size=(2, 3, 4)).round(2)
    v, w = rng.normal(scale=3, size=(2, 4)).round(2)
    c = rng.normal(scale=4, size=(3, 3)).round(2)
    s = c @ c.T / 4 + 4 * np.eye(3)
    p = np.array([0.5, 1.25, 3.0, 6.0])
    n = x.copy()
    arrays = {"x": x, "y": y, "v": v, "w": w, "c": c, "s": s, "p": p, "n": n}
    if kind == "per channel":
        scales = {4: [0.25, 0.125, 0.0625, 0.5], 3: [0.25, 0.5, 0.125]}
        made = {k: make(a, lpnum.fixed8, scale=scales[a.shape[-1]]) for k, a in arrays.items()}
    elif kind == "float per channel":
        made = {
            k: make(a, "float8_e5m2", scale=np.array([0.5, 4.0, 1.0, 2.0])[: a.shape[-1]]) for k, a in arrays.items()
        }
    elif kind == "offset":
        made = {k: make(a, lpnum.ufixed8, scale=0.25, offset=-32.0) for k, a in arrays.items()}
    elif kind == "fixed":
        made = {k: make(a, lpnum.fixed8, scale=0.1875) for k, a in arrays.items()}
    else:
        made = {k: make(a, kind) for k, a in arrays.items()}
    if made["n"].format.name.startswith(("float", "bfloat")):
        made["n"][1, 2] = made["n"][0, 1] = np.nan
    values = {k: a.dequantize(np.float64) for k, a in made.items()}
    return types.SimpleNamespace(**made), types.SimpleNamespace(**values)


KINDS = ("fixed", "per channel", "offset", "float8_e4m3fn", "float per channel", "bfloat16")


def compare(result, expected, x):
    if isinstance(result, LPArray):
        assert result.format == x.format
        assert_rounded(result, expected)
    elif isinstance(expected, list | tuple):
        assert type(result) is type(expected)
        assert len(result) == len(expected)
        for r, e in zip(result, expected, strict=True):
            compare(r, e, x)
    elif isinstance(expected, np.ndarray | np.generic) and expected.dtype.kind in "fc":
        assert isinstance(result, np.ndarray | np.generic)
        assert result.dtype == expected.dtype
        rtol = 1e-6 if expected.dtype.itemsize == 4 else 1e-12  # float32 asked for: ours is rounded from float64
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=1e-11)
    elif isinstance(expected, np.ndarray | np.generic):
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)
    else:
        assert result == expected


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    file = tmp_path_factory.mktemp("coverage") / "numbers"
    np.array([1.0, -2.5]).tofile(file)
    made = {kind: _arrays(kind) for kind in KINDS}
    for pair in made.values():
        for a in pair:
            a.file = file
    return made


def has_lparray(result):
    return isinstance(result, LPArray) or (isinstance(result, list | tuple) and any(map(has_lparray, result)))


# ---- the tests -----------------------------------------------------------------------------------------------------


def test_every_overridable_function_of_numpy_stands_in_exactly_one_row():
    missing = [name for name, f in FUNCTIONS if _array_functions.row_of(f) is None]
    assert not missing, f"new in NumPy {np.__version__}: add to the table in lpnum/_array_functions.py"
    names = [name for row in _array_functions.TABLE for name in row.names.split()]
    assert len(names) == len(set(names))
    assert {row.group for row in _array_functions.TABLE} == {"handled", "generic", "wide", "refused"}
    modules = {name.rpartition(".")[0] + ".*" for name in KNOWN}
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0":  # older ones do not list the functions with like=
        assert set(names) - KNOWN - modules <= NOT_IN_EVERY_NUMPY


def test_a_function_that_stands_in_no_row_is_refused():
    def new_function():
        """Stand-in for one that a later NumPy adds."""

    new_function.__module__ = "numpy"
    with pytest.raises(TypeError, match=r"np\.new_function is not defined for LPArray; use x\.dequantize\(\)"):
        _array_functions.dispatch(new_function, (LPArray,), (lpnum.ones(2),), {})


def test_at_least_220_functions_work():
    worked = {name for name, f in FUNCTIONS if _array_functions.row_of(f).group != "refused"}
    assert len(worked) >= 220
    exampled = {name for names in EXAMPLES for name in names.split()} | TEXT_OF_OUR_OWN
    assert worked <= exampled, worked - exampled


@pytest.mark.parametrize("names", EXAMPLES, ids=lambda names: names.split()[0])
def test_a_function_gives_what_it_gives_for_the_values(names, kinds, monkeypatch):
    if not KNOWN.intersection(names.split()):
        pytest.skip(f"not in NumPy {np.__version__}")
    called = {}
    original = _array_functions.row_of

    def recording(func):
        row = original(func)
        called[_array_functions.key(func)] = row
        return row

    monkeypatch.setattr(_array_functions, "row_of", recording)
    for call in EXAMPLES[names]:
        if any(hasattr(np, name) is False for name in NOT_IN_EVERY_NUMPY.intersection(call.__code__.co_names)):
            continue
        for kind in KINDS:
            low, values = kinds[kind]
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", RuntimeWarning)
                result, expected = call(low), call(values)
            compare(result, expected, low.x)
    # each name was called; NumPy looks for overrides among the elements of the argument of poly and roots
    groups = {name: called[name].group for name in names.split() if name in KNOWN - {"poly", "roots"}}
    if set(groups.values()) == {"wide"}:
        assert not has_lparray(result)


def test_the_representation_names_the_format():
    assert np.array_repr(lpnum.ones(2)) == "LPArray([1., 1.], format=lpnum.fixed8, scale=1)"


# ---- ufuncs --------------------------------------------------------------------------------------------------------

UFUNC_ROWS = {name: row for row in _coverage.UFUNCS for name in row.names.split()}


def test_every_overridable_ufunc_stands_in_exactly_one_row():
    missing = [name for name, _ in UFUNCS if name not in UFUNC_ROWS]
    assert not missing, f"new in NumPy {np.__version__}: add to the table in lpnum/_coverage.py"
    names = [name for row in _coverage.UFUNCS for name in row.names.split()]
    assert len(names) == len(set(names))


def _ufunc_arguments(ufunc, a):
    if ufunc.signature is not None:
        return {"matmul": (a.c, a.x), "matvec": (a.x, a.v), "vecmat": (a.v, a.x.T), "vecdot": (a.x, a.v)}[
            ufunc.__name__
        ]
    if ufunc is np.ldexp:
        return a.x, np.array([3, -1, 0, 2])
    if ufunc in (np.divmod, np.floor_divide, np.remainder, np.fmod, np.divide):
        return a.x, a.p
    if ufunc in (np.power, np.float_power):
        return np.abs(a.x) + 0.5, a.v / 4
    if ufunc in (np.arccosh, np.log, np.log10, np.log2, np.log1p, np.sqrt, np.reciprocal):
        return (a.p + 1,)
    if ufunc in (np.arcsin, np.arccos, np.arctanh):
        return (a.x / 32,)
    if ufunc in (np.exp, np.exp2, np.expm1, np.cosh, np.sinh):
        return (a.x / 8,)
    return (a.x, a.y, a.v)[: ufunc.nin]


@pytest.mark.parametrize(("name", "ufunc"), UFUNCS, ids=[name for name, _ in UFUNCS])
def test_a_ufunc_does_what_its_row_says(name, ufunc, kinds):
    group = UFUNC_ROWS[name].group
    for kind in KINDS:
        low, values = kinds[kind]
        if group == "refused":
            with pytest.raises(TypeError, match=r"use x\.dequantize\(\)"):
                ufunc(*(low.x, low.y, low.v, low.w)[: ufunc.nin])
            continue
        arguments, plain = (_ufunc_arguments(ufunc, a) for a in (low, values))
        plain = tuple(a.dequantize(np.float64) if isinstance(a, LPArray) else a for a in arguments)
        with np.errstate(all="ignore"):
            result, expected = ufunc(*arguments), ufunc(*plain)
        if group == "wide":
            assert not has_lparray(result)
        else:
            assert has_lparray(result)
        compare(result, expected, low.x)


REAL = [(name, u) for name, u in UFUNCS if UFUNC_ROWS[name].group != "refused" and u.signature is None]


@pytest.mark.parametrize(("name", "ufunc"), REAL, ids=[name for name, _ in REAL])
def test_where_computes_the_selected_elements_only(name, ufunc, kinds):
    mask = np.array([[True, False, True, True]] * 3)
    for kind in KINDS:
        low, _ = kinds[kind]
        arguments = tuple(
            np.array(a) if isinstance(a, np.ndarray) else np.copy(a) for a in _ufunc_arguments(ufunc, low)
        )
        plain = [a.dequantize(np.float64) if isinstance(a, LPArray) else a for a in arguments]
        shape = np.broadcast_shapes(*(np.shape(a) for a in arguments))
        here = np.broadcast_to(mask[0], shape)
        with np.errstate(all="ignore"):
            result, expected = ufunc(*arguments, where=here), ufunc(*plain)
        for r, e in zip(*((v if isinstance(v, tuple) else (v,)) for v in (result, expected)), strict=True):
            assert np.shape(r) == shape
            compare(r[here], np.asarray(e)[here], low.x)


@pytest.mark.parametrize("fmt", ["fixed8", "float8_e4m3fn"])
def test_what_where_leaves_out_can_do_no_harm(fmt):
    x = lpnum.array([-1.0, 0.0, 4.0], fmt, scale=0.5)
    y = np.log(x, where=x > 0)
    assert_rounded(y[2:], np.log([4.0]))
    with lpnum.context(overflow="error"):
        z = np.divide(x, [np.nan, 0.0, 2.0], where=[False, False, True])
        np.add(x, [0.0, 1e9, 1.0], out=x, where=[False, False, True])
    assert float(z[2]) == 2.0
    assert np.asarray(x).tolist() == [-1.0, 0.0, 5.0]


def test_where_costs_what_is_selected(monkeypatch):
    from lpnum import _ufuncs

    sizes = []
    original = _ufuncs.call
    monkeypatch.setattr(_ufuncs, "call", lambda ufunc, inputs: sizes.append(inputs[0].size) or original(ufunc, inputs))
    x = lpnum.ones(1000)
    mask = np.zeros(1000, bool)
    mask[5] = True
    np.add(x, x, where=mask)
    np.hypot(x, x, where=mask)
    np.exp(x, where=mask)  # by the table of all codes: all of it costs less
    assert sizes == [1, 1]
    np.add(x, x, where=~mask)
    assert sizes == [1, 1, 1000]


BINARY = [u for _, u in REAL if u.nin == 2 and u.nout == 1 and u is not np.ldexp]


@pytest.mark.parametrize("ufunc", BINARY, ids=lambda u: u.__name__)
def test_reduce_accumulate_and_reduceat_are_those_of_the_values(ufunc, kinds):
    for kind in KINDS:
        low, values = kinds[kind]
        x, v = low.x, values.x
        calls = [
            lambda t: ufunc.reduce(t),
            lambda t: ufunc.reduce(t, axis=-1, keepdims=True),
            lambda t: ufunc.accumulate(t, axis=1),
            lambda t: ufunc.reduceat(t, [0, 2], axis=1),
            lambda t: ufunc.reduce(t, axis=1, out=np.empty(3)),
        ]
        if ufunc.identity is not None:
            calls += [
                lambda t: ufunc.reduce(t, axis=1, initial=2.0, where=FIRST),
                *([] if ufunc.__name__.startswith("logical") else [lambda t: ufunc.reduce(t, axis=0, dtype="f4")]),
            ]
        for call in calls:
            with np.errstate(all="ignore"):
                try:
                    expected = call(v)
                except TypeError:  # comparisons, which NumPy reduces for booleans only
                    with pytest.raises(TypeError):
                        call(x)
                    continue
                result = call(x)
            assert not has_lparray(result)
            assert result.dtype == expected.dtype
            compare(result, expected, x)


@pytest.mark.parametrize("ufunc", BINARY, ids=lambda u: u.__name__)
def test_outer_is_the_ufunc_on_all_pairs(ufunc, kinds):
    for kind in KINDS:
        low, values = kinds[kind]
        with np.errstate(all="ignore"):
            expected = ufunc.outer(values.p / 3, values.p)
            result = ufunc.outer(low.p / 3, low.p)
            if np.isfinite(expected).all():
                compare(result, expected, low.x)
            assert np.shape(ufunc.outer(low.p, 2.0)) == (4,)


def test_at_accumulates_and_rounds_once(kinds):
    for kind in KINDS:
        low, values = kinds[kind]
        for index, addend in [
            ([0, 0, 2], 0.3),
            (([0, 1, 0], [1, 2, 1]), np.array([0.3, 0.4, 0.3])),
            (slice(1, 2), low.v),
            (FIRST, -0.7),
            (1, 1.0),
        ]:
            x, v = low.x.copy(), values.x.copy()
            assert np.add.at(x, index, addend) is None
            np.add.at(v, index, np.asarray(addend))
            assert_rounded(x, v, clamped=True)
            untouched = v == values.x
            np.testing.assert_array_equal(x.dequantize(np.float64)[untouched], v[untouched])
        x, v = low.x.copy(), values.x.copy()
        np.negative.at(x, [0])
        np.negative.at(v, [0])
        assert_rounded(x, v, clamped=True)
        plain = np.zeros(3)
        np.add.at(plain, [0, 0, 1], low.v[:3])
        np.testing.assert_allclose(plain, [values.v[0] + values.v[1], values.v[2], 0])


def test_two_outputs_have_grids_of_their_own_and_go_where_out_says():
    x = lpnum.array([[3.5, -1.25], [0.0, 100.0]], scale=0.875)
    v = x.dequantize()
    fraction, whole = np.modf(x)
    assert fraction.scale < whole.scale
    a, b = lpnum.zeros((2, 2), scale=0.5), np.zeros((2, 2))
    result = np.divmod(x, 3.0, out=(a, b))
    assert result[0] is a
    assert result[1] is b
    assert_rounded(a, v // 3)
    np.testing.assert_array_equal(b, v % 3)
    result = np.divmod(x, 3.0, out=(None, b))
    assert result[1] is b
    assert isinstance(result[0], LPArray)
    assert divmod(x, 3.0)[1].same_grid(np.divmod(x, 3.0)[1])


def test_the_document_is_current():
    document = Path(__file__).resolve().parent.parent / "docs" / "coverage.md"
    assert document.read_text() == _coverage.markdown(), "python -m lpnum._coverage > docs/coverage.md"
