"""Callbacks that stop a run: early stopping, deadlines, StopIteration."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from checkpoint_runs import PROBLEM
from hypothesis import given
from hypothesis import strategies as st

from lpnum_optim import Deadline, EarlyStopping, State, minimize


def state(epoch: int, objective: float) -> State:
    x = np.full(2, float(epoch))
    return State("halp", epoch, 100, 0.0, 0.0, x, x, objective, objective, 1.0, 0.0, 0.0)


@given(
    values=st.lists(st.floats(-10, 10) | st.just(float("nan")), min_size=1, max_size=30),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.5]),
    maximize=st.booleans(),
)
def test_it_stops_after_so_many_epochs_without_improvement(
    values: list[float], patience: int, min_delta: float, maximize: bool
) -> None:
    early = EarlyStopping(patience, min_delta, maximize=maximize)
    best, since = None, 0
    for epoch, value in enumerate(values):
        stopped = early(state(epoch, value))
        gain = np.inf if best is None else value - best if maximize else best - value
        if not np.isnan(value) and gain > 0 and gain >= min_delta:
            best, since = value, epoch
            assert early.best_x[0] == epoch
        assert stopped == (epoch - since >= patience)
        assert early.best_epoch == since
        assert best is None or early.best == best
    assert not early(state(0, 1.0))  # a new run
    assert early.best == 1.0


def test_a_stop_by_patience_is_told() -> None:
    early = EarlyStopping(3, monitor="grad_norm", min_delta=1e-6)
    r = minimize(PROBLEM, "halp", epochs=200, callback=early)
    assert r.status == 3
    assert r.n_epochs == early.best_epoch + 3
    assert r.history["grad_norm"][early.best_epoch] == early.best
    assert "stopped by the callback after epoch" in r.message


def test_a_score_is_maximized() -> None:
    early = EarlyStopping(2, monitor=lambda state: -abs(state.epoch - 4.0), maximize=True)
    assert minimize(PROBLEM, "halp", callback=early).n_epochs == 6
    assert early.best_epoch == 4
    assert early.best_x.shape == (6,)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"patience": 0}, ValueError, "patience = 0; expected an integer >= 1"),
        ({"patience": 1.5}, TypeError, "patience = 1.5"),
        ({"min_delta": -1.0}, ValueError, "min_delta = -1.0"),
        ({"monitor": "accuracy"}, ValueError, "unknown monitor 'accuracy'; allowed: objective, grad_norm"),
    ],
)
def test_wrong_arguments_of_early_stopping_are_refused(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        EarlyStopping(**options)


def test_a_deadline_is_kept() -> None:
    with pytest.raises(ValueError, match=r"seconds = 0\.0"):
        Deadline(0.0)

    def slow(state: State) -> None:
        time.sleep(0.05)

    started = time.monotonic()
    r = minimize(PROBLEM, "sgd", epochs=10**6, callback=[slow, Deadline(0.4)])
    assert r.status == 3
    assert 2 <= r.n_epochs <= 7  # at 0.05 s each, with one in reserve
    assert time.monotonic() - started < 5.0
    late = Deadline(1e-9)
    time.sleep(0.001)
    assert minimize(PROBLEM, "sgd", callback=late).n_epochs == 0


def test_stop_iteration_stops_as_in_scipy_and_all_callbacks_are_called() -> None:
    seen: list[int] = []

    def stop(state: State) -> None:
        if state.epoch == 2:
            raise StopIteration

    r = minimize(PROBLEM, "halp", callback=[stop, lambda state: seen.append(state.epoch)])
    assert r.status == 3
    assert seen == [0, 1, 2]
