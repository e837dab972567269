"""The claims: which method reaches what on the reference problem, and why.

The problem is `lpnum_optim.datasets.synthetic`: n = 1000, d = 100, condition number about 300, step 0.5 / L, n steps
per epoch. Thresholds are those of the project's contract; where a run is random, ten fixed seeds (data, samples and
rounding) are checked, so nothing here fails by chance on a given machine.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum._core import kernels
from lpnum_optim import METHODS, Checkpoint, FiniteSum, FunctionSum, MinimizeResult, _options, minimize
from lpnum_optim._core.epochs import float_epoch
from lpnum_optim.datasets import synthetic
from lpnum_optim.evaluation import Point
from lpnum_optim.gradients import VarianceReduced
from lpnum_optim.iterates import BitCentered, FullPrecision
from lpnum_optim.methods import Method
from lpnum_optim.scale_rules import Automatic

SEEDS = range(10)


@cache
def reference(seed: int = 0) -> FiniteSum:
    return synthetic(seed).problem()


@cache
def run(method: str, bits: int = 8, seed: int = 0, epochs: int = 50, tol: float = 1e-10) -> MinimizeResult:
    return minimize(reference(seed), method, bits=bits, epochs=epochs, tol=tol, seed=seed)


def small(seed: int = 0) -> FiniteSum:
    return synthetic(seed, n=200, d=20).problem()


@pytest.mark.parametrize("seed_", SEEDS)
def test_halp_with_8_bits_reaches_full_accuracy(seed_: int) -> None:
    r = run("halp", 8, seed_)
    assert r.converged
    assert r.n_epochs <= 45
    assert np.linalg.norm(reference(seed_).gradient(r.x)) < 1e-10
    assert r.iterate.codes.dtype == np.int8


@pytest.mark.parametrize("seed_", SEEDS)
def test_a_fixed_grid_stalls_ten_orders_above(seed_: int) -> None:
    coarse, fine = run("lp-svrg", 8, seed_), run("lp-svrg", 16, seed_)
    assert coarse.grad_norm > 0.1
    # The floor follows the distance of neighbors: 2^8 between 8 and 16 bits.
    ratio = np.median(coarse.history["grad_norm"][10:]) / np.median(fine.history["grad_norm"][10:])
    assert 100 < ratio < 700
    assert run("lp-sgd", 8, seed_).grad_norm > 0.1
    assert run("sgd", 8, seed_).grad_norm > 0.1


def test_16_bits_cost_nothing_against_full_precision() -> None:
    svrg, halp = (np.array([run(m, 16, seed).n_epochs for seed in SEEDS]) for m in ("svrg", "halp"))
    assert all(run("halp", 16, seed).converged for seed in SEEDS)
    assert (halp <= svrg).all()


def test_8_bits_cost_little_against_full_precision() -> None:
    svrg, halp = (sum(run(m, 8, seed).n_epochs for seed in SEEDS) for m in ("svrg", "halp"))
    assert halp <= 1.15 * svrg


def test_the_floor_of_halp_is_that_of_float64() -> None:
    for seed in SEEDS[:3]:
        assert run("halp", 8, seed, 60, 0.0).grad_norm < 2e-14


def test_nearest_rounding_freezes() -> None:
    """Why stochastic rounding is the default.

    A step of 0.5 / L on one sample changes a coordinate by much less than half of the distance of neighbors, so
    rounding to nearest undoes it: the codes never leave 0 and the final gradient is the initial one. Stochastic
    rounding keeps the mean of such steps.
    """
    options: dict[str, Any] = {"mu": 2.0, "epochs": 2, "engine": "readable", "inner_steps": 500}
    frozen = minimize(reference(), "halp", rounding="nearest-even", **options)
    assert not frozen.x.any()
    assert (frozen.history["grad_norm"] == frozen.history["grad_norm"][0]).all()
    moving = minimize(reference(), "halp", rounding="stochastic", **options)
    assert moving.grad_norm < 0.9 * frozen.grad_norm


@pytest.mark.parametrize("seed_", SEEDS[:3])
def test_the_rule_of_the_paper_depends_on_mu(seed_: int) -> None:
    """Too small: the grid is too coarse, and rounding noise grows without end. Too large: it clips."""
    problem = reference(seed_)
    assert minimize(problem, "halp", mu=4, tol=1e-10, seed=seed_).n_epochs <= 45
    coarse = minimize(problem, "halp", mu=0.1, seed=seed_)
    assert "diverged in epoch" in coarse.message
    assert coarse.status == 2
    assert coarse.grad_norm <= coarse.history["grad_norm"][0]  # the best iterate is not lost
    clipped = minimize(problem, "halp", mu=64, seed=seed_)
    assert clipped.history["saturated"][1:].mean() > 0.01
    assert not clipped.converged
    assert clipped.grad_norm < clipped.history["grad_norm"][0]


def test_the_rule_of_the_paper_is_the_documented_formula() -> None:
    r = minimize(reference(), "halp", bits=6, mu=3.0, epochs=4)
    starts = r.history["grad_norm"][:4]
    np.testing.assert_allclose(r.history["scale"][1:], starts / 3.0 / 31, rtol=1e-12)


class Float32Centered(BitCentered):
    """HALP as earlier implementations had it: the offset in single precision."""

    def value(self) -> Point:  # noqa: D102
        return Point(super().value().coef.astype(np.float32).astype(np.float64))

    def begin_epoch(self, scale: float) -> None:  # noqa: D102
        self.move_to(self.value())
        super().begin_epoch(scale)


def test_a_single_precision_offset_has_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 0.5 * 2^-24 * |Hessian| * |w|: this is why the outer state is float64."""
    monkeypatch.setitem(METHODS, "halp-32", Method(VarianceReduced, Float32Centered, ""))
    for seed in SEEDS[:3]:
        assert 1e-8 < minimize(reference(seed), "halp-32", mu=2, seed=seed).grad_norm < 1e-5


class ExactCentered(FullPrecision):
    """Bit centering without rounding: w = center + z in float64."""

    centered = True

    def __init__(self, start: Point, **_: Any) -> None:
        super().__init__(start)
        self.center = start.coef.copy()

    def begin_epoch(self, scale: float) -> None:  # noqa: D102
        self.center = self.value().coef

    def run_compiled(  # noqa: D102
        self, problem: FiniteSum, terms: Any, steps: Any, samples: np.ndarray, control: Any
    ) -> Any:
        change = None if self.intercept is None else np.zeros_like(self.intercept)
        z = np.zeros_like(self.array)
        kernel_options = steps.of_kernel(problem, samples, terms, self.center, change)
        float_epoch(problem.data, problem.y, terms.margins, terms.anchors, terms.direction, z, **kernel_options)
        self.array = self.center + z
        if change is not None:
            self.intercept = self.intercept + change
        return self.observe()


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_halp_without_rounding_is_svrg(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "exact", Method(VarianceReduced, ExactCentered, ""))
    data = synthetic(3, n=200, d=20)
    problem = FiniteSum(data.X, data.y if loss == "squared" else data.y > 0, loss, 0.1)
    a, b = (minimize(problem, method, epochs=8, acceleration=0) for method in ("exact", "svrg"))
    assert np.linalg.norm(a.x - b.x) <= 1e-12 * np.linalg.norm(b.x)
    np.testing.assert_allclose(a.history["grad_norm"], b.history["grad_norm"], rtol=1e-9)


@pytest.mark.parametrize("method", ["sgd", "svrg"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_engines_agree_to_rounding_in_full_precision(method: str, loss: str) -> None:
    data = synthetic(3, n=150, d=12)
    problem = FiniteSum(data.X, data.y if loss == "squared" else data.y > 0, loss, 0.1)
    a, b = (minimize(problem, method, epochs=3, engine=engine) for engine in ("compiled", "readable"))
    assert np.linalg.norm(a.x - b.x) <= 1e-12 * np.linalg.norm(b.x)


def test_engines_agree_in_convergence_in_low_precision() -> None:
    """Not the same codes: the compiled epoch rounds its factor beta and draws its random bits in another layout."""
    compiled, readable, functions = [], [], []
    for seed in range(4):
        problem = small(seed)
        generic = FunctionSum(problem.n_samples, problem.n_features, problem.sample_gradient, problem.gradient)
        options: dict[str, Any] = {"tol": 1e-9, "seed": seed, "inner_steps": 400, "epochs": 60, "acceleration": 0}
        compiled.append(minimize(problem, "halp", engine="compiled", **options).n_epochs)
        readable.append(minimize(problem, "halp", engine="readable", **options).n_epochs)
        if seed < 2:
            functions.append(minimize(generic, "halp", **options).n_epochs)
    assert max(compiled + readable + functions) < 40
    assert np.mean(readable) == pytest.approx(np.mean(compiled), rel=0.15)
    assert np.mean(functions) == pytest.approx(np.mean(compiled), rel=0.2)


@pytest.mark.parametrize("method", ["lp-sgd", "lp-svrg"])
def test_engines_agree_in_the_noise_floor_of_a_fixed_grid(method: str) -> None:
    problem = small()
    floors = [
        np.median(minimize(problem, method, epochs=12, scale=0.05, engine=engine).history["grad_norm"][4:])
        for engine in ("compiled", "readable")
    ]
    assert 0.6 < floors[0] / floors[1] < 1.7


@pytest.mark.parametrize("engine", ["compiled", "readable"])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_penalty_acts_on_offset_and_codes(engine: str, bits: int) -> None:
    """Weight decay on the codes alone would miss the regularized minimum: a defect of earlier implementations."""
    data = synthetic(1, n=200, d=20)
    problem = FiniteSum(data.X, data.y, l2=2.0)
    X = data.X.dequantize()
    exact = np.linalg.solve(X.T @ X / 200 + 2.0 * np.eye(20), X.T @ data.y / 200)
    r = minimize(problem, "halp", bits=bits, engine=engine, epochs=25, x0=np.full(20, 3.0))
    np.testing.assert_allclose(r.x, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 9, 12, 15])
def test_every_width_makes_progress(bits: int) -> None:
    r = minimize(small(), "halp", bits=bits, epochs=60)
    assert r.grad_norm < (0.9 if bits == 2 else 0.3 if bits < 5 else 1e-6) * r.history["grad_norm"][0]
    assert r.iterate.format.bits == bits
    assert r.iterate.codes.dtype == (np.int8 if bits <= 8 else np.int16)


@pytest.mark.parametrize("d", [16, 64, 256])
def test_the_automatic_scale_does_not_care_about_the_dimension(d: int) -> None:
    problem = synthetic(5, n=10 * d, d=d).problem()
    svrg, halp = (minimize(problem, method, tol=1e-9, epochs=60) for method in ("svrg", "halp"))
    assert halp.converged
    assert halp.n_epochs <= 1.3 * svrg.n_epochs + 1


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_the_automatic_scale_does_not_care_about_units(factor: float) -> None:
    data = synthetic(2, n=200, d=20)
    problem = FiniteSum(data.X * factor, data.y)
    r = minimize(problem, "halp", epochs=60)
    assert r.grad_norm < 1e-10 * r.history["grad_norm"][0]


def test_the_automatic_scale_follows_the_iterate() -> None:
    history = run("halp", 8).history
    late = slice(6, None)
    assert (history["range_used"][late] > 0.3).all()
    assert np.median(history["saturated"][late]) < 5e-3
    assert history["scale"][-1] < 1e-8 * history["scale"][1]


@pytest.mark.parametrize("method", ["lp-sgd", "lp-svrg", "halp"])
def test_same_seed_same_codes_at_every_simd_level(method: str, simd_level: str) -> None:
    here = minimize(small(), method, epochs=6, seed=11)
    again = minimize(small(), method, epochs=6, seed=11)
    kernels.set_simd_level("baseline")
    from lpnum_optim._core import epochs

    epochs.set_simd_level(0)
    baseline = minimize(small(), method, epochs=6, seed=11)
    for other in (again, baseline):
        np.testing.assert_array_equal(here.iterate.codes, other.iterate.codes)
        np.testing.assert_array_equal(here.x, other.x)
    assert (minimize(small(), method, epochs=6, seed=12).x != here.x).any()


def test_real_data_in_8_bits() -> None:
    pytest.importorskip("sklearn")
    from lpnum_optim.datasets import breast_cancer, digits

    for data in (digits(), breast_cancer()):
        problem = data.problem()
        assert problem.kernel_data.is_codes
        svrg, halp = (minimize(problem, method, tol=1e-9, epochs=60) for method in ("svrg", "halp"))
        assert halp.converged
        assert halp.n_epochs <= 1.5 * svrg.n_epochs
        assert minimize(problem, "lp-svrg", epochs=60).grad_norm > 1e3 * halp.grad_norm


def test_lpnum_is_not_imported_in_vain() -> None:
    """The returned iterate is an array of the promised size: one byte per weight."""
    iterate = run("halp", 8).iterate
    assert isinstance(iterate, lpnum.LPArray)
    assert iterate.nbytes == reference().n_features


def test_one_coordinate_far_away_does_not_hold_back_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single clipped coordinate of many leaves the saturated fraction small, and yet blocks all progress."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1200, 300))
    X[:, 0] *= 0.3
    weights = rng.standard_normal(300)
    weights[0] = 70
    data = lpnum.array(X, dtype=lpnum.fixed8)
    problem = FiniteSum(data, data.dequantize() @ weights + rng.standard_normal(1200))
    svrg, halp = (minimize(problem, method, tol=1e-7, epochs=150) for method in ("svrg", "halp"))
    assert halp.converged
    assert halp.n_epochs <= 1.5 * svrg.n_epochs
    monkeypatch.setattr(Automatic, "STUCK", 10**6)
    assert minimize(problem, "halp", epochs=60, acceleration=0).grad_norm > 0.1


def test_bits_rise_where_no_grid_leads_on_and_only_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = lpnum.array(rng.standard_normal((1000, 50)), dtype=lpnum.fixed8)
    problem = FiniteSum(X, rng.standard_normal(1000), l2=1e-3)
    eight = minimize(problem, epochs=12)
    assert eight.iterate.codes.dtype == np.int8
    np.testing.assert_array_equal(eight.x, minimize(problem, bits=8, epochs=12).x)

    asked = minimize(problem, bits=3, epochs=40)
    assert asked.iterate.format.bits == 3  # what was asked for stays
    monkeypatch.setattr(_options, "AUTOMATIC_BITS", 3)  # a stand-in for a problem too hard for 8 bits
    raised = minimize(problem, epochs=40)
    assert raised.iterate.codes.dtype == np.int16
    assert raised.grad_norm < 1e-12 * raised.history["grad_norm"][0] < asked.grad_norm
    first = int(re.search(r"16 bits from epoch (\d+) on, because no 3-bit grid led further", raised.message)[1])

    for cut in (first - 2, first, first + 3):
        path = tmp_path / f"{cut}.npz"
        minimize(problem, epochs=cut, checkpoint=Checkpoint(path, every=1))
        resumed = minimize(problem, epochs=40, resume=path)
        np.testing.assert_array_equal(resumed.x, raised.x)
        assert resumed.message == raised.message
