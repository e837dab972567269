"""What the estimators share: checks of arguments and data, fitting by `minimize`, early stopping."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, check_X_y
from sklearn.utils.validation import check_is_fitted, validate_data

from lpnum import LPArray
from lpnum.formats import FixedFormat

from . import resume as resuming
from ._checks import choice, finite, integer, real
from ._features import NATIVE, fixed_format, is_dask, products
from ._fitting import LinearFit, fit_linear
from ._stopping import HeldOut
from .checkpoint import Checkpoint
from .losses import get_loss
from .minimize import METHODS
from .result import DIVERGED, INTERRUPTED, STOPPED

Vector = NDArray[np.float64]
File = str | os.PathLike[str]


class LinearEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators.

    A subclass knows its targets, whether these are numbers (`_numeric`), and the shapes of the fitted attributes.
    """

    _numeric: bool

    def __sklearn_tags__(self) -> Any:
        """Sparse data are taken, too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # ---- arguments and data ----------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        name = type(self).__name__
        choice(name, "method", self.method, METHODS)
        if self.bits != "auto":
            integer(name, "bits", self.bits, 2, 16)
        integer(name, "max_iter", self.max_iter, 1)
        integer(name, "n_iter_no_change", self.n_iter_no_change, 1)
        real(name, "tol", self.tol, zero=True)
        if real(name, "l1_ratio", self.l1_ratio, zero=True) > 1:
            raise ValueError(f"{name}: l1_ratio = {self.l1_ratio!r}; expected a number in 0 .. 1")
        if self.early_stopping and real(name, "validation_fraction", self.validation_fraction) >= 1:
            raise ValueError(f"{name}: validation_fraction = {self.validation_fraction!r}; expected 0 < number < 1")
        if self.data_format is not None:
            fixed_format(self.data_format)

    def _check_data(self, X: Any, y: Any) -> tuple[Any, Any]:
        """X as ndarray, CSR matrix, LPArray or Dask array of row chunks, and y as a vector."""
        if not (isinstance(X, LPArray) or is_dask(X)):
            return validate_data(self, _bytes_of_bools(X), y, y_numeric=self._numeric, **_ACCEPTED)
        self._check_rows(X)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        y = np.asarray(y)  # of a Dask array: computed
        _, y = check_X_y(np.zeros((X.shape[0], 1), np.int8), y, dtype=None, y_numeric=self._numeric, estimator=self)
        return validate_data(self, X, skip_check_array=True), y

    def _check_rows(self, X: Any) -> None:
        """What scikit-learn checks, for the kinds of data that it does not know."""
        if isinstance(X, LPArray):
            _check_low_precision(X)
            return
        from ._chunked_features import check_chunks

        check_chunks(X)

    def _of_margins(
        self, X: Any, function: Callable[[Vector], Any], columns: int | None, dtype: Any = np.float64
    ) -> Any:
        """A function of the margins X @ coef.T + intercept, of shape (n_samples, n_outputs); lazy for chunks."""
        check_is_fitted(self)
        if isinstance(X, LPArray) or is_dask(X):
            self._check_rows(X)
            validate_data(self, X, reset=False, skip_check_array=True)
        else:
            X = validate_data(self, _bytes_of_bools(X), reset=False, **_ACCEPTED)
        coef = np.atleast_2d(self.coef_)
        if not is_dask(X):
            return function(products(X, coef) + self.intercept_)
        from ._chunked_features import of_margins

        return of_margins(X, coef, self.intercept_, function, columns, dtype)

    def _check_weights(self, sample_weight: Any, n: int) -> Vector | None:
        """The sample weights as a new float64 vector, None for equal ones."""
        if sample_weight is None:
            return None
        weights = np.array(sample_weight, dtype=np.float64)
        if weights.ndim == 0:
            weights = np.full(n, float(weights))
        name = type(self).__name__
        if weights.shape != (n,):
            raise ValueError(f"{name}: sample_weight has shape {weights.shape}; expected ({n},)")
        finite(name, "sample_weight", weights)
        if (weights < 0).any():
            raise ValueError(f"{name}: sample_weight[{int(np.argmax(weights < 0))}] is negative; weights are >= 0")
        if not weights.any():
            raise ValueError(f"{name}: all elements of sample_weight are zero; at least one has to be positive")
        return weights

    # ---- fitting ---------------------------------------------------------------------------------------------------

    def _minimize(
        self, X: Any, y: Vector, weights: Vector | None, loss: str, strength: float, strata: Any,
        checkpoint: File | Checkpoint | None, resume: File | bool | None,
    ) -> None:  # fmt: skip
        """Minimize sum_i weights_i l(x_i.w + b, y_i) + strength * penalty(w) and set the attributes.

        `strata`: labels whose shares the held-out samples of early stopping keep, or None.
        """
        n = X.shape[0]
        seed = self._seed(checkpoint, resume)
        held_out = None
        if self.early_stopping:
            if is_dask(X):
                raise ValueError(
                    f"{type(self).__name__}: early_stopping=True holds out single rows, which chunks of a Dask array "
                    "do not give; keep some chunks apart, and stop by callbacks=EarlyStopping(monitor=...)"
                )
            weights = np.ones(n) if weights is None else weights.copy()
            test = self._held_out(weights, strata, seed)
            held_out = HeldOut(X[test], y[test], weights[test], get_loss(loss), self.n_iter_no_change)
            weights[test] = 0.0  # leaves them out without a copy of the others
        strength /= n if weights is None else float(weights.sum())
        fit = fit_linear(
            X, y, loss, l2=(1.0 - self.l1_ratio) * strength, l1=self.l1_ratio * strength, weights=weights,
            intercept=self.fit_intercept, data_format=self.data_format, method=self.method, bits=self.bits,
            epochs=self.max_iter, tol=self.tol, seed=seed, start=self._start(X, loss, y), held_out=held_out,
            callbacks=_as_list(self.callbacks), progress=bool(self.verbose), checkpoint=checkpoint, resume=resume,
        )  # fmt: skip
        self.result_, self.n_iter_ = fit.result, fit.result.n_epochs
        self.history_ = {**fit.result.history, "relative_gradient": fit.relative}
        if held_out:
            self.history_["validation_loss"] = np.array(held_out.losses)
        self._set_model(fit.coef, fit.intercept)
        if fit.result.status == INTERRUPTED:  # coef_ and the rest are those of the best epoch
            raise KeyboardInterrupt(f"{type(self).__name__}: {fit.result.message}")
        self._warn(fit)

    def _seed(self, checkpoint: File | Checkpoint | None, resume: File | bool | None) -> int:
        """The seed of the fit, held-out samples included; without `random_state` that of the fit that goes on."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if self.random_state is not None:
            return seed
        known = resuming.seed_of(None, resuming.found(resume, resuming.wanted(checkpoint)))
        return seed if known is None else known

    def _held_out(self, weights: Vector, strata: Any, seed: int) -> NDArray[np.intp]:
        """Numbers of the samples of early stopping: of those that count."""
        counting = np.flatnonzero(weights)
        strata = None if strata is None else strata[counting]
        fraction = self.validation_fraction
        random = np.random.RandomState(seed % 2**32)
        _, chosen = train_test_split(counting, test_size=fraction, random_state=random, stratify=strata)
        return np.asarray(chosen)

    def _start(self, X: Any, loss: str, y: Vector) -> tuple[Vector, Vector] | None:
        """The model of the previous fit if it is wanted."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        coef, intercept = self._model()
        shape = (len(np.unique(y)), X.shape[1]) if loss == "softmax" else (X.shape[1],)
        if coef.shape != shape:
            raise ValueError(
                f"{type(self).__name__}: warm_start=True, but the previous fit had coefficients of shape {coef.shape}, "
                f"and these data need {shape}; set warm_start=False"
            )
        return coef, intercept

    def _warn(self, fit: LinearFit) -> None:
        result = fit.result
        if result.converged or (result.status == STOPPED and (self.early_stopping or self.callbacks is not None)):
            return
        advice = (
            "another method ('halp' or 'svrg'), more bits, or scaled features"
            if result.status == DIVERGED
            else "a larger max_iter, scaled features, a stronger penalty, or a larger tol"
        )
        warnings.warn(
            f"{type(self).__name__} has not converged after {result.n_epochs} epochs: {result.message}. The smallest "
            f"gradient is {fit.relative.min():.1e} of that without features, tol = {self.tol:g}. Try {advice}.",
            ConvergenceWarning,
            stacklevel=4,
        )


# Arguments of validate_data for everything but LPArrays.
_ACCEPTED = {"accept_sparse": "csr", "dtype": NATIVE, "order": "C"}


def _bytes_of_bools(X: Any) -> Any:
    return X.view(np.uint8) if isinstance(X, np.ndarray) and X.dtype == bool else X


def _check_low_precision(X: LPArray) -> None:
    """What scikit-learn checks for other arrays, without dequantizing codes that cannot be NaN."""
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got an LPArray of shape {X.shape}. Reshape your data with X.reshape(-1, 1) if it has "
            "a single feature, or X.reshape(1, -1) if it is a single sample."
        )
    for axis, what in enumerate(("sample", "feature")):
        if X.shape[axis] == 0:
            raise ValueError(f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required.")
    for part in ("scale", "offset"):
        finite("LPArray", part, np.asarray(getattr(X, part)))
    if not isinstance(X.format, FixedFormat):
        finite("LPArray", "X", X.dequantize(np.float32))


def _as_list(callbacks: Any) -> list[Any]:
    return [] if callbacks is None else [callbacks] if callable(callbacks) else list(callbacks)
