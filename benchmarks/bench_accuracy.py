"""From data to an exact solution: seconds, epochs by kind of data, and memory of a whole fit."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any, ClassVar

import numpy as np

import lpnum
from benchmarks import accuracy_data
from benchmarks.accuracy_solvers import Ours
from lpnum_optim import FiniteSum, minimize

timer = time.process_time  # of this process alone: other work on the machine counts less

METHODS = {"HALP-8": ("halp", None), "SVRG float64": ("svrg", np.float64)}


class TimeToAccuracy:
    """Seconds until the gradient norm is 1e-6 of the start, from data in memory, with the epochs that this takes."""

    params: ClassVar[list[list[str]]] = [list(accuracy_data.BUNDLED), list(METHODS)]
    param_names: ClassVar[list[str]] = ["data", "method"]

    def setup(self, data: str, method: str) -> None:
        task = accuracy_data.BUNDLED[data]()
        name, dtype = METHODS[method]
        self.solver = Ours(method, task, name, None if dtype is None else task.values(dtype))
        (self.setting,) = self.solver.settings((1e-6,), limit=20)
        assert self.setting.iterations is not None, f"{method} stops at {self.setting.norm:g} of the start"

    def time_fit(self, data: str, method: str) -> None:
        assert self.setting.iterations is not None
        self.solver.fit(self.setting.iterations)

    def track_epochs(self, data: str, method: str) -> int:
        """Epochs that the fit takes."""
        assert self.setting.iterations is not None
        return self.setting.iterations


class EpochsByDataKind:
    """Epochs of HALP-8 until the gradient norm is 1e-8 of the start: the same least squares, X stored in other ways."""

    params: ClassVar[list[str]] = ["int8", "uint8", "int4", "int16", "float32", "int8, a scale per column"]
    param_names: ClassVar[list[str]] = ["X"]

    def setup(self, kind: str) -> None:
        rng = np.random.default_rng(0)
        codes = rng.integers(-7, 7, (500, 20), endpoint=True)  # values that every kind holds exactly
        self.y = codes @ rng.standard_normal(20) / 4 + rng.standard_normal(500)
        values = codes / 4
        formats: dict[str, Any] = {"int8": lpnum.fixed8, "int4": lpnum.fixed4, "int16": lpnum.fixed16}
        if kind in formats:
            self.x: Any = lpnum.array(values, formats[kind], scale=0.25)
        elif kind == "uint8":
            self.x = (codes + 7).astype(np.uint8)
        elif kind == "float32":
            self.x = values.astype(np.float32)
        else:
            self.x = lpnum.array(values, lpnum.fixed8, scale=0.25 * 2.0 ** -(np.arange(20) % 3))

    def track_epochs(self, kind: str) -> int:
        """Epochs; a run that does not arrive is an error."""
        problem = FiniteSum(self.x, self.y, l2=1e-3)
        start = problem.evaluate(np.zeros(20)).grad_norm
        run = minimize(problem, "halp", epochs=100, tol=1e-8 * start)
        assert run.converged, f"{kind}: {run.message}"
        return run.n_epochs


class Memory:
    """A fit of 60,000 x 784, data in memory: the peak of the process, and what the fit allocates beside the data."""

    params: ClassVar[list[str]] = ["HALP-8 on uint8", "SVRG on float32"]
    param_names: ClassVar[list[str]] = ["fit"]

    def setup(self, fit: str) -> None:
        rng = np.random.default_rng(0)
        shape = (60_000, 784)
        if fit == "HALP-8 on uint8":
            self.x: np.ndarray = rng.integers(0, 255, shape, np.uint8, endpoint=True)
        else:
            self.x = rng.random(shape, np.float32)
        self.y = rng.choice([-1.0, 1.0], shape[0])

    def fit(self, fit: str) -> None:
        """Two full gradients and an epoch."""
        run = minimize(FiniteSum(self.x, self.y, "logistic", 1e-2), fit.split("-")[0].split()[0].lower(), epochs=1)
        assert run.n_epochs == 1

    def peakmem_process(self, fit: str) -> None:
        self.fit(fit)

    def track_peak_per_data_bytes(self, fit: str) -> float:
        """Bytes of the data and of all that NumPy holds at the worst moment of the fit, per byte of the data."""
        tracemalloc.start()
        try:
            self.fit(fit)
            return (self.x.nbytes + tracemalloc.get_traced_memory()[1]) / self.x.nbytes
        finally:
            tracemalloc.stop()
