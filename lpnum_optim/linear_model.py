"""Linear models with the interface of scikit-learn, fitted by the methods of this package.

The objectives are those of scikit-learn's `LogisticRegression`, `Ridge` and `ElasticNet`, so that parameters carry over
and coefficients compare directly. Needs scikit-learn: ``pip install "lpnum[optim]"``.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import optional_import, real

optional_import("sklearn", "optim", "lpnum_optim.linear_model")

from sklearn.base import ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.utils.class_weight import compute_class_weight  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402

from ._estimator import LinearEstimator  # noqa: E402
from ._predictions import as_it_is, first_column, log_probabilities, most_probable, probabilities  # noqa: E402
from .checkpoint import Checkpoint  # noqa: E402

Vector = NDArray[np.float64]

__all__ = ["LPLogisticRegression", "LPRidge"]


class LPLogisticRegression(ClassifierMixin, LinearEstimator):  # type: ignore[misc]
    r"""Logistic regression, binary and multinomial, by low-precision training.

    .. math:: \min_{w, b}\; C \sum_i s_i\, \ell(w x_i + b, y_i)
       + \tfrac{1 - \rho}{2} \|w\|_2^2 + \rho \|w\|_1

    the objective of `sklearn.linear_model.LogisticRegression`: :math:`\ell` is the logistic loss for two classes and
    the softmax cross-entropy for more, :math:`s_i` the product of sample weight and class weight, :math:`\rho` the
    `l1_ratio`.

    Parameters
    ----------
    C : float > 0
        Inverse strength of the penalty; ``np.inf`` for none.
    l1_ratio : float in 0..1
        Share of the L1 penalty.
    fit_intercept : bool
    class_weight : dict, "balanced" or None
    max_iter : int
        Epochs at most. An epoch is a full gradient and twice as many steps as there are samples, at least 10,000.
    tol : float
        Done when the norm of the gradient is `tol` times the norm it has without features (zero coefficients, and the
        best intercept for them). The objective is then within about ``tol**2`` times the condition number of its
        minimum, relatively: below 1e-8 with the default for condition numbers up to 1e6.
    method : {"halp", "svrg", "lp-svrg", "sgd", "lp-sgd"}
        See `lpnum_optim.METHODS`.
    bits : int in 2..16 or "auto"
        Bits per coefficient during the steps of a low-precision method. They do not limit the accuracy of "halp".
    data_format : lpnum format, name of one, or None
        How floating-point data are stored while fitting, with one scale per feature. None: in their own type, float32
        or float64; the minimum is that of the data as they came. ``lpnum.fixed8`` needs 1 byte per value and is the
        fastest; the minimum is that of the rounded data. Low-precision and integer data are never converted.
    early_stopping : bool
        Hold out `validation_fraction` of the samples, stop when their mean loss has not fallen for `n_iter_no_change`
        epochs, and keep the coefficients with the smallest one.
    validation_fraction : float
    n_iter_no_change : int
    warm_start : bool
        Begin at the coefficients of the previous fit.
    random_state : int, RandomState or None
        Determines the samples of the steps, the stochastic rounding and the held-out samples.
    verbose : int
        Not 0: show progress on stderr.
    callbacks : callable or list of callables, optional
        Called with a `lpnum_optim.State` before the first epoch and after every epoch; True stops. `state.x` are
        coefficients of the features as they are scaled internally.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    coef_ : float64 array of shape (1, n_features) for two classes, else (n_classes, n_features)
    intercept_ : float64 array of shape (1,) or (n_classes,)
    n_iter_ : int
        Epochs done.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only where X has names.
    history_ : dict of arrays of equal length
        One element per epoch, and the start: epoch, passes, seconds, objective, grad_norm, scale, saturated,
        range_used; with early stopping validation_loss. The objective is the one above divided by the sum of C s_i.
    result_ : lpnum_optim.MinimizeResult

    See Also
    --------
    lpnum_optim.minimize : the methods, for any linear model.

    Notes
    -----
    X may be a NumPy array, a DataFrame, a CSR matrix or array of SciPy, or an `lpnum.LPArray`. Codes of 8 bits
    (LPArrays and int8 or uint8 arrays) are neither dequantized for fitting nor for predicting.

    X may also be a Dask array of chunks of whole rows of any of these. Then the steps are taken where the chunks are
    (`lpnum_optim.distributed`), and predictions are Dask arrays; y and weights are computed, and held by the client.

    References
    ----------
    De Sa et al., "High-Accuracy Low-Precision Training", arXiv:1803.03383.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LPLogisticRegression(C=0.01, random_state=0).fit(X.astype(np.uint8), y)
    >>> model.coef_.shape, model.result_.converged
    ((10, 64), True)
    >>> round(model.score(lpnum.array(X, dtype=lpnum.ufixed8, scale=1.0), y), 3)
    0.992
    """

    _numeric = False

    def __init__(
        self,
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        class_weight: Any = None,
        max_iter: int = 1000,
        tol: float = 1e-7,
        method: str = "halp",
        bits: int | str = "auto",
        data_format: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Any = None,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.method = method
        self.bits = bits
        self.data_format = data_format
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        resume: str | os.PathLike[str] | bool | None = None,
    ) -> LPLogisticRegression:  # fmt: skip
        """Fit the coefficients.

        Parameters
        ----------
        X : array, DataFrame, CSR matrix, LPArray or Dask array of shape (n_samples, n_features)
        y : array of shape (n_samples,)
            Class labels: numbers or strings.
        sample_weight : array of shape (n_samples,), optional
            A weight of 0 is as good as no sample.
        checkpoint : path or lpnum_optim.Checkpoint, optional
            Save the state of the fit to this file every 10 seconds, or as the `Checkpoint` says, and at its end.
        resume : path or True, optional
            Go on from such a file; True: from that of `checkpoint` if there is one, else from the start. With the same
            data and parameters the model has the same bits as one of a fit that never stopped; `max_iter`, `tol`,
            `verbose` and `callbacks` may differ. A `random_state` of None is the one of the file.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If `tol` was not reached in `max_iter` epochs.
        RuntimeWarning
            If a checkpoint could not be written (a full disk); the fit goes on.

        Raises
        ------
        ValueError
            Besides wrong data and parameters: if `resume` is damaged, or the checkpoint of other data or parameters.
        """
        self._check_parameters()
        strength = 0.0 if np.inf == self.C else 1.0 / real(type(self).__name__, "C", self.C)
        X, names = self._check_data(X, y)
        check_classification_targets(names)
        self.classes_, labels = np.unique(names, return_inverse=True)
        weights = self._class_weights(names, labels, self._check_weights(sample_weight, len(labels)))
        if len(self.classes_) == 2:
            targets, loss = np.where(labels == 1, 1.0, -1.0), "logistic"
        else:
            targets, loss = labels.astype(np.float64), "softmax"
        self._minimize(X, targets, weights, loss, strength, labels, checkpoint, resume)
        return self

    def decision_function(self, X: Any) -> Vector:
        """Margins: of the second class, of shape (n_samples,), or of every class, of shape (n_samples, n_classes)."""
        several = self._several_margins()
        margins: Vector = self._of_margins(X, as_it_is if several else first_column, several)
        return margins

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of every sample."""
        check_is_fitted(self)
        chosen: NDArray[Any] = self._of_margins(X, partial(most_probable, self.classes_), None, self.classes_.dtype)
        return chosen

    def predict_proba(self, X: Any) -> Vector:
        """Probabilities of the classes, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        shares: Vector = self._of_margins(X, probabilities, len(self.classes_))
        return shares

    def predict_log_proba(self, X: Any) -> Vector:
        """Logarithms of the probabilities, accurate where these are tiny."""
        check_is_fitted(self)
        logarithms: Vector = self._of_margins(X, log_probabilities, len(self.classes_))
        return logarithms

    # ---- what the base asks for ------------------------------------------------------------------------------------

    def _several_margins(self) -> int | None:
        """How many margins a sample has; None for one."""
        check_is_fitted(self)
        return None if len(self.coef_) == 1 else len(self.coef_)

    def _class_weights(self, y: NDArray[Any], labels: NDArray[np.intp], weights: Vector | None) -> Vector | None:
        """Sample weights times class weights; at least two classes, each with some weight, or an error."""
        name, n_classes = type(self).__name__, len(self.classes_)
        if n_classes == 1:
            raise ValueError(f"{name} needs samples of at least 2 classes; y contains only one class: {y[0]!r}")
        sums = np.bincount(labels, weights, n_classes)
        factors = np.ones(n_classes)
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            factors = sums.sum() / (n_classes * np.where(sums > 0, sums, np.inf))
        elif self.class_weight is not None:
            factors = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        if not (factors * sums > 0).all():
            raise ValueError(
                f"{name}: class {self.classes_[np.argmin(factors * sums)]!r} has no samples of positive weight; remove "
                "its samples"
            )
        if self.class_weight is None:
            return weights
        return factors[labels] if weights is None else weights * factors[labels]

    def _model(self) -> tuple[Vector, Vector]:
        return (self.coef_[0], self.intercept_[0]) if len(self.coef_) == 1 else (self.coef_, self.intercept_)

    def _set_model(self, coef: Vector, intercept: Vector) -> None:
        self.coef_, self.intercept_ = np.atleast_2d(coef), np.atleast_1d(intercept)


class LPRidge(RegressorMixin, LinearEstimator):  # type: ignore[misc]
    r"""Least squares with a penalty, by low-precision training.

    .. math:: \min_{w, b}\; \tfrac12 \sum_i s_i (w x_i + b - y_i)^2
       + \alpha \left(\tfrac{1 - \rho}{2} \|w\|_2^2 + \rho \|w\|_1\right)

    With :math:`\rho` = `l1_ratio` = 0 this is the objective of `sklearn.linear_model.Ridge` with the same alpha
    (halved); otherwise that of `ElasticNet` and `Lasso` with ``alpha / n_samples`` for their alpha.

    Parameters
    ----------
    alpha : float >= 0
        Strength of the penalty.
    l1_ratio : float in 0..1
        Share of the L1 penalty; 1 is the lasso.
    fit_intercept, max_iter, tol, method, bits, data_format
        As in `LPLogisticRegression`.
    early_stopping, validation_fraction, n_iter_no_change, warm_start, random_state, verbose, callbacks
        As there. The held-out loss of early stopping is half the squared error.

    Attributes
    ----------
    coef_ : float64 array of shape (n_features,)
    intercept_ : float
    n_iter_, n_features_in_, feature_names_in_, history_, result_
        As in `LPLogisticRegression`. The objective of the history is the one above divided by the sum of the s_i.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LPRidge(alpha=0.1, random_state=0).fit(X, y)
    >>> bool(np.allclose(model.coef_, Ridge(alpha=0.1).fit(X, y).coef_, rtol=1e-4)), round(model.score(X, y), 3)
    (True, 0.513)
    """

    _numeric = True

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-7,
        method: str = "halp",
        bits: int | str = "auto",
        data_format: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Any = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.method = method
        self.bits = bits
        self.data_format = data_format
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        resume: str | os.PathLike[str] | bool | None = None,
    ) -> LPRidge:  # fmt: skip
        """Fit the coefficients.

        Parameters
        ----------
        X : array, DataFrame, CSR matrix, LPArray or Dask array of shape (n_samples, n_features)
        y : array of shape (n_samples,)
            Targets.
        sample_weight : array of shape (n_samples,), optional
            A weight of 0 is as good as no sample.
        checkpoint, resume
            As in `LPLogisticRegression.fit`.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If `tol` was not reached in `max_iter` epochs.
        """
        self._check_parameters()
        strength = real(type(self).__name__, "alpha", self.alpha, zero=True)
        X, numbers = self._check_data(X, y)
        targets = np.asarray(numbers, dtype=np.float64)
        weights = self._check_weights(sample_weight, len(targets))
        self._minimize(X, targets, weights, "squared", strength, None, checkpoint, resume)
        return self

    def predict(self, X: Any) -> Vector:
        """The predicted targets."""
        predicted: Vector = self._of_margins(X, first_column, None)
        return predicted

    # ---- what the base asks for ------------------------------------------------------------------------------------

    def _model(self) -> tuple[Vector, Vector]:
        return self.coef_, np.asarray(self.intercept_)

    def _set_model(self, coef: Vector, intercept: Vector) -> None:
        self.coef_, self.intercept_ = coef, float(intercept)
