"""scikit-learn's own checks of estimators, all of them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from lpnum_optim.linear_model import LPLogisticRegression, LPRidge

# Checks that fail, and why.
WEIGHTS = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
HELD_OUT = "weights of 0 and missing rows give other held-out samples, as in scikit-learn's own early stopping"


def expected_failures(estimator: Any) -> dict[str, str]:
    if estimator.early_stopping:
        return dict.fromkeys(WEIGHTS, HELD_OUT)
    return {}


ignored = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::sklearn.exceptions.SkipTestWarning"
)


@ignored
# The checks of weights compare two fits to 1e-7: a gradient of the default tol leaves a larger difference.
@parametrize_with_checks(
    [LPLogisticRegression(tol=1e-11), LPRidge(tol=1e-11)], expected_failed_checks=expected_failures
)
def test_the_estimators_pass_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@ignored
@parametrize_with_checks(
    [
        LPLogisticRegression(method="svrg", tol=1e-11, data_format="fixed16"),
        LPRidge(early_stopping=True, data_format="fixed16"),
        LPRidge(method="svrg", tol=1e-11, l1_ratio=0.5),
    ],
    expected_failed_checks=expected_failures,
)
def test_other_settings_pass_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
