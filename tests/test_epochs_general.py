"""The general path of the epochs: equal to its NumPy specification bit for bit, and to the textbook's steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from general_cases import HUBER, ITERATES, KINDS, LOGISTIC, SOFTMAX, SQUARED, assert_as_specified, case, matrix, run

from lpnum_optim import _general_reference, _reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix

DIMS = [1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 100, 129]
LOSSES = (SQUARED, LOGISTIC, SOFTMAX, HUBER)


@pytest.fixture(autouse=True)
def keep_level():
    level = epochs.simd_level()
    yield
    epochs.set_simd_level(level)


def forms():
    """(kind, density, batch, l1) of everything that only the general path serves, whatever the iterate."""
    for kind, density, batch, l1 in itertools.product(KINDS, (None, 0.3), (1, 3), (0.0, 0.4)):
        exists = density is None or not kind.endswith("t4")
        if exists and (density is not None or batch > 1 or l1 > 0 or kind in ("int16", "float32", "float64")):
            yield kind, density, batch, l1


@pytest.mark.parametrize("iterate", ITERATES)
@pytest.mark.parametrize("loss", LOSSES)
def test_codes_as_specified_for_every_form_of_data(iterate, loss):
    moved = 0
    for k, (kind, density, batch, l1) in enumerate(forms()):
        if (k + loss) % 4 and not (loss == SOFTMAX and iterate == "int8"):
            continue  # the others have another loss
        if iterate.startswith("float") and (density, batch, l1) == (None, 1, 0.0) and kind != "int16":
            continue  # float_epoch.h
        options = {
            "weighted": k % 2 == 0, "shrinking": k % 5 == 0, "intercepts": k % 3 != 0, "centered": k % 2 == 1,
            "columns": k % 4 == 1, "l2": 0.5 * (k % 3),
        }  # fmt: skip
        args, z = case(k, kind, loss, iterate, DIMS[k % len(DIMS)], 2 + k % 3, density, batch=batch, l1=l1, **options)
        if k % 4 == 0:
            args["samples"] = args["samples"].astype(np.uint32)
        got = assert_as_specified(args, z)
        moved += int(np.any(got[0] != z))
    assert moved > 5


RULES = (
    {"segments": 6, "learning": True, "narrow": 0.3, "wide": 0.75},
    {"segments": 5, "crowded": -1.0, "widen": 1.5, "limit": 4.0, "mean_runs": 9},
    {"segments": 4, "stuck": 2, "widen": 1.5},
    {"segments": 3, "learning": True, "narrow": 1.0, "mean_runs": 2},
)


@pytest.mark.parametrize("iterate", ["int8", "int16"])
@pytest.mark.parametrize("density", [None, 0.3])
def test_changes_of_the_grid_as_specified(iterate, density):
    changes = set()
    for k, (rule, (batch, loss)) in enumerate(itertools.product(RULES, ((1, LOGISTIC), (4, SOFTMAX), (1, SOFTMAX)))):
        args, z = case(k, "float32", loss, iterate, DIMS[k], 3, density, steps=50 + 30 * (k % 2), batch=batch,
                       l1=0.2 * (k % 4 == 2), l2=0.3)  # fmt: skip
        changes.add(assert_as_specified(args, z // (1 + k % 5), rule)[3][0])
    assert len(changes) > 3


def test_the_step_may_be_of_any_size():
    """Directions, slopes and thresholds far beyond the grid, margins that are not finite, codes at their ends."""
    for k, (iterate, density, batch) in enumerate(itertools.product(("int8", "int16"), (None, 0.4), (1, 3))):
        args, z = case(k, "float64", SQUARED, iterate, 40, 1, density, batch=batch, l1=1e6 * (k % 2))
        args["margins"][:4, 0] = np.nan, np.inf, -np.inf, 1e300
        args["direction"][0, :5] = 1e300, -1e300, 1e9, -1e9, 0.0
        z[0, :9], z[0, 9:20] = args["code_max"], args["code_min"]
        _, _, (saturated, range_used, clipped), _ = assert_as_specified(args, z)
        assert saturated > 0.0
        assert range_used == 1.0
        assert 0.0 < clipped < 1.0
        assert_as_specified({**args, "z_step": 1e-250}, z)


def test_codes_without_negative_values():
    for density in (None, 0.3):
        args, z = case(1, "float32", iterate="int8", density=density, code_min=0, code_max=100)
        assert assert_as_specified(args, np.abs(z) // 2)[0].min() == 0


@pytest.mark.parametrize("density", [None, 0.1])
def test_no_steps_change_nothing(density):
    for iterate in ITERATES:
        args, z = case(2, iterate=iterate, density=density, samples=np.empty(0, np.int64), intercepts=True, l1=0.1)
        got, intercept, report, _ = run(epochs, args, z, {"segments": 4})
        np.testing.assert_array_equal(got, z)
        np.testing.assert_array_equal(intercept, args["intercept"])
        assert report in (None, (0.0, 0.0, 0.0))


@pytest.mark.parametrize("segments", [1, 3, 16, 10**9])
def test_dense_steps_do_not_depend_on_the_runs(segments):
    args, z = case(3, "float32", steps=130, l2=0.5)
    np.testing.assert_array_equal(run(epochs, args, z, {"segments": segments})[0], run(epochs, args, z)[0])


def textbook(args, w, dense):
    """The epoch in plain float64 steps, on the dense matrix in values."""
    d, outputs = w.shape[1], len(w)
    o = {"weights": None, "shrink": None, "batch": 1, "l1": 0.0, "center": np.zeros(w.shape), "intercept": None, **args}
    columns = np.ones(d) if o["x"].columns is None else o["x"].columns
    b = np.zeros(outputs) if o["intercept"] is None else o["intercept"].copy()
    for k in range(0, len(o["samples"]), o["batch"]):
        batch = o["samples"][k : k + o["batch"]]
        g = np.empty((len(batch), outputs))
        for row, i in zip(g, batch, strict=True):
            m = o["margins"][i] + w @ dense[i] + b
            row[:] = _reference.loss_slopes(m, o["targets"][i], o["loss"], o["loss_parameter"]) - o["anchors"][i]
            row *= 1.0 if o["weights"] is None else o["weights"][i]
        shrink = o["l2"] if o["shrink"] is None else o["shrink"]
        w = w - o["step_size"] * (g.T @ dense[batch] / len(batch) + o["direction"] + shrink * w)
        if o["l1"] > 0:
            v, t = o["center"] + w, o["step_size"] * o["l1"] * columns
            w = np.sign(v) * np.maximum(np.abs(v) - t, 0.0) - o["center"]
        if o["intercept"] is not None:
            b = b - o["intercept_step"] * (g.mean(axis=0) + o["intercept_direction"])
    return w, b


@pytest.mark.parametrize("iterate", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_float_iterates_take_the_textbook_steps(kind, iterate):
    for k, (loss, batch, density) in enumerate(itertools.product(LOSSES, (1, 4), (None, 0.15))):
        if density is not None and kind.endswith("t4"):
            continue
        options = {"weighted": k % 2 == 0, "shrinking": k % 3 == 0, "intercepts": k % 3 != 1, "centered": k % 2 == 1}
        args, w = case(k, kind, loss, iterate, 45, 3, density, steps=60, batch=batch, l1=0.3 * (k % 3 == 2), l2=0.5,
                       columns=True, step_size=0.01, **options)  # fmt: skip
        dense = args["x"].step * _general_reference.dense_rows(args["x"])
        expected, b = textbook(args, w.astype(np.float64), dense)
        got, intercept, _, _ = run(epochs, args, w)
        tolerance = 1e-12 if iterate == "float64" else 3e-6
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))
        if intercept is not None:
            np.testing.assert_allclose(intercept, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("density", [None, 0.15])
@pytest.mark.parametrize("l1", [0.0, 0.02])
@pytest.mark.parametrize("loss", LOSSES)
def test_sixteen_bits_follow_the_float64_epoch(loss, l1, density):
    """Rounding errors of at most z_step / 2 (root mean square) add up like a random walk of T steps in C d dimensions,
    as the maps contract; the proximal step is a contraction too."""
    d, steps = 60, 400
    args, z = case(8, "float32", loss, "int16", d, 3, density, steps=steps, l1=l1, l2=0.1, step_size=0.005, z_step=2e-4)
    codes, _, (saturated, _, clipped), _ = run(epochs, args, np.zeros_like(z))
    assert saturated == clipped == 0.0
    w = run(epochs, args, np.zeros(z.shape))[0]
    assert np.linalg.norm(w) > 1000 * args["z_step"] * np.sqrt(z.size)
    assert np.linalg.norm(args["z_step"] * codes - w) < 0.6 * args["z_step"] * np.sqrt(steps * z.size)


@pytest.mark.parametrize("density", [None, 0.0])
@pytest.mark.parametrize("iterate", ["int8", "int16"])
@pytest.mark.parametrize("move", [1e-6, 1 / 256, 0.1, 0.5, 0.9, 1.3])
def test_update_is_unbiased(iterate, move, density):
    """The mean over 2^15 coordinates of the distance gone is steps * move to 5.3 sigma (false alarms 1.2e-7 each), also
    far below 2^-16 of the grid. The variance of a rounding is f (1 - f) at the fraction f; rows without stored values
    are rounded once, at the end, and there to 2^-17 of the grid in the mean."""
    d, steps = 1 << 15, 60
    args, z = case(6, "float32", iterate=iterate, d=d, steps=steps, n=2, density=density, step_size=1.0)
    if density is None:
        args["x"] = DataMatrix(np.zeros((2, d), np.float32))
    args["direction"][:] = -move * args["z_step"]
    codes = run(epochs, args, np.zeros_like(z))[0].astype(float)
    fraction = move % 1.0
    variance = steps * fraction * (1 - fraction) / d + (0.0 if density is None else 0.25 / d)
    floor = steps * 2.0**-48 if density is None else 2.0**-17
    # The 32 shared bits of a step decide below 2^-16 for all coordinates at once.
    shared = 0.0 if density is not None else np.sqrt(steps) * min(fraction, 2.0**-16)
    assert abs(codes.mean() - steps * move) < 5.3 * (np.sqrt(variance) + shared) + floor


def test_untouched_coordinates_catch_up_in_one_rounding(seed):
    """With a row that stores one value, the others hold what m steps of shrinking and direction do, to one code."""
    d, steps = 70, 333
    rng = np.random.default_rng(seed)
    x = DataMatrix(np.ones(1, np.float32), 1.0, None, None, d, np.array([3], np.int32), np.array([0, 1], np.int64))
    args, z = case(9, iterate="int8", d=d, n=1, steps=steps, shrinking=True)
    args |= {"x": x, "direction": 0.3 * rng.normal(size=(1, d)), "step_size": 2e-3}
    codes = run(epochs, args, z)[0].astype(float)
    keep = 1.0 - args["step_size"] * args["shrink"]
    exact = args["z_step"] * z.astype(float)
    for _ in range(steps):
        exact = keep * exact - args["step_size"] * args["direction"]
    exact = np.clip(exact / args["z_step"], args["code_min"], args["code_max"])
    others = np.arange(d) != 3
    assert np.all(np.abs(codes - exact)[0, others] < 1.0 + 1e-6)
    assert np.ptp(exact) > 50


def test_l1_makes_weights_exactly_zero():
    """A float iterate relative to its center ends at minus the center where the penalty wins."""
    args, w = case(5, "float64", SQUARED, "float64", 30, steps=300, l1=3.0, centered=True, step_size=0.02)
    got = run(epochs, args, np.zeros_like(w))[0]
    zeros = got == -args["center"]
    assert 5 < zeros.sum() < 30


def test_sparse_and_dense_rows_give_the_same_distribution():
    """Means over 200 streams agree to 5.3 sigma of their difference in each of 20 coordinates."""
    args, z = case(7, "float32", LOGISTIC, "int8", 20, density=0.3, steps=60, z_step=0.1, l2=0.2)
    dense = DataMatrix(_general_reference.dense_rows(args["x"]).astype(np.float32), args["x"].step)
    streams = [{**args, "stream": s} for s in range(200)]
    sparse = np.array([run(epochs, a, z)[0][0] for a in streams], float)
    filled = np.array([run(epochs, {**a, "x": dense}, z)[0][0] for a in streams], float)
    sigma = np.sqrt((sparse.var(axis=0) + filled.var(axis=0)) / len(streams))
    assert sparse.std() > 1
    assert np.all(np.abs(sparse.mean(axis=0) - filled.mean(axis=0)) < 5.3 * sigma + 0.02)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"indices": [0, 7, 1]}, IndexError, r"x.indices contains 7; allowed 0..4"),
        ({"indices": [0, -1, 1]}, IndexError, r"x.indices contains -1; allowed 0..4"),
        ({"indices": [3, 1, 1]}, ValueError, r"x.indices of row 0 .*sum_duplicates"),
        ({"indices": [1, 1, 1]}, ValueError, r"x.indices of row 0 .*sum_duplicates"),
        ({"indices": [0, 1]}, ValueError, "x.indices: length 2; expected 3"),
        ({"indptr": [0, 3, 2, 3]}, ValueError, r"x.indptr\[2\] = 2 is below the one before, 3"),
        ({"indptr": [0, 2, 3, 4]}, ValueError, "x.indptr; expected n \\+ 1 numbers from 0 to the 3 stored values"),
        ({"indptr": [1, 2, 3, 3]}, ValueError, "x.indptr; expected"),
        ({"indptr": []}, ValueError, "x.indptr; expected"),
        ({"n_features": 0}, ValueError, "x.n_features = 0"),
        ({"n_features": None}, ValueError, "x.n_features = None"),
        ({"packed": "int4"}, ValueError, "values of a sparse matrix are not packed"),
    ],
)
def test_bad_sparse_matrices_are_named(change, error, message):
    x = DataMatrix(np.ones(3), 1.0, None, None, 5, np.array([0, 2, 1], np.int32), np.array([0, 2, 2, 3], np.int64))
    change = {k: np.array(v, {"indices": np.int32, "indptr": np.int64}[k]) if isinstance(v, list) else v
              for k, v in change.items()}  # fmt: skip
    args, z = case(1, d=5, n=3)
    assert_as_specified({**args, "x": x}, z)
    with pytest.raises(error, match=message):
        run(epochs, {**args, "x": x._replace(**change)}, z)


def test_wrong_element_types_of_sparse_matrices_are_named():
    x, _ = matrix(np.random.default_rng(1), 4, 9, density=0.5)
    args, z = case(1, d=9, n=4)
    for name, dtype, allowed in (("indices", np.int64, "int32"), ("indptr", np.int32, "int64"), ("rows", bool, "int8")):
        wrong = x._replace(**{name: getattr(x, name).astype(dtype)})
        with pytest.raises(TypeError, match=f"x.{name}: element type .*; allowed: {allowed}"):
            run(epochs, {**args, "x": wrong}, z)
