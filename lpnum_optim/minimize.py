"""`minimize`: one function for all methods; a method is a gradient estimate times an iterate storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _options as options
from . import resume as resuming
from ._checks import choice
from .callbacks import Callback, ProgressBar, State
from .checkpoint import Checkpoint
from .methods import METHODS as METHODS
from .problem import FiniteSum, FunctionSum
from .result import INTERRUPTED, MinimizeResult
from .run import Run


def minimize(
    problem: FiniteSum | FunctionSum,
    method: str = "halp",
    *,
    bits: int | str = "auto",
    epochs: int = 50,
    step_size: float | str = "auto",
    inner_steps: int | None = None,
    scale: float | str | Callable[[State], float] = "auto",
    mu: float | None = None,
    tol: float = 0.0,
    x0: ArrayLike | None = None,
    seed: int | None = 0,
    rounding: str = "stochastic",
    batch_size: int = 1,
    sampling: str = "replacement",
    dtype: Any = np.float64,
    callback: Callback | Sequence[Callback] | None = None,
    progress: bool = False,
    engine: str = "auto",
    acceleration: int | str = "auto",
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: str | os.PathLike[str] | bool | None = None,
) -> MinimizeResult:
    r"""Minimize a finite sum with a method of the table `METHODS`.

    An epoch takes the full gradient at a snapshot and then `inner_steps` steps on single samples i (or batches),

    .. math:: w \leftarrow Q\left(w - \alpha g_i(w)\right)

    with :math:`g_i` the gradient estimate and Q the rounding of the iterate storage (the identity in full precision).
    An L1 penalty adds its proximal map before the rounding. Where X has one scale s_j per column, coordinates are
    measured in units of c_j = max(s) / s_j: the step of coordinate j is :math:`\alpha c_j^2`, a diagonal
    preconditioner that costs nothing.

    Parameters
    ----------
    problem : FiniteSum or FunctionSum
    method : {"sgd", "lp-sgd", "svrg", "lp-svrg", "halp"}
    bits : int in 2..16 or "auto"
        Bits per coordinate of a low-precision iterate. "auto" is 8; "halp" with ``scale="auto"`` goes on with 16
        where no 8-bit grid leads any further (the message tells).
    epochs : int
        Number of epochs at most.
    step_size : float or "auto"
        alpha; "auto" is 0.5 / L with L = ``problem.lipschitz`` (less for importance sampling and batches), for a
        `FunctionSum` ``problem.probe_lipschitz``.
    inner_steps : int, optional
        Steps per epoch, by default n_samples / batch_size, for every method.
    scale : float, callable or "auto"
        Distance of neighboring values of a low-precision iterate, or a function of the `State` that returns it, called
        before every epoch of "halp" and once for "lp-sgd" and "lp-svrg". "auto": `scale_rules.Automatic` for "halp";
        for the fixed grids 1.25 times the largest coordinate after 5 epochs of full-precision SVRG (not counted in the
        passes of the history).
    mu : float, optional
        For "halp": the rule of the paper, ``scale = |full gradient|_2 / mu / (2^(bits-1) - 1)``, in place of "auto".
    tol : float
        Stop when the Euclidean norm of the full gradient is at most `tol` (absolute, like ``gtol`` in SciPy). With an
        L1 penalty the norm of the proximal gradient mapping, everywhere.
    x0 : array of shape ``problem.shape``, optional
        Start, by default zero. A fixed grid rounds it.
    seed : int or None
        Determines the samples and all random bits of stochastic rounding. None: fresh entropy.
    rounding : str
        Rounding of a low-precision iterate. "nearest-even" freezes as soon as steps are below half of `scale`; it is
        there for experiments.
    batch_size : int
        Samples per step.
    sampling : {"replacement", "shuffle", "importance"}
        Independent samples; all samples in a new random order again and again; or independent ones with probabilities
        that grow with the curvature of f_i (for rows of very different length), correctly weighted.
    dtype : {np.float64, np.float32}
        Of the iterate of methods in full precision between two full gradients.
    callback : callable or list of callables
        Called as ``callback(state)`` with a `State` at the start and after every epoch; True stops.
    progress : bool
        Show a progress bar on stderr.
    engine : {"auto", "compiled", "readable"}
        "compiled" runs the steps of a `FiniteSum` in C, 8-bit iterates on 8-bit or 4-bit data in integer arithmetic;
        "readable" is the same algorithm on NumPy and `lpnum.LPArray`. "auto" takes the compiled one where it exists.
        Both take the same samples. In full precision they agree to rounding; in low precision they converge alike but
        with other codes, because the integer epoch rounds its factor of x_i too and lays out its random bits otherwise.
    acceleration : int or "auto"
        How many differences of snapshots Anderson acceleration combines to where the steps of an epoch start (see
        `anderson.Anderson`), 0 for the snapshot itself, which is the textbook's method. "auto": 5 for "halp" with
        ``scale="auto"`` on a smooth `FiniteSum`, else 0. "svrg" and "halp" take a number.
    checkpoint : path or Checkpoint, optional
        Save the state of the run to this file every 10 seconds, or as the `Checkpoint` says, and at the end, whatever
        ends it. A write that fails (a full disk) is warned of and told in the message; the run goes on.
    resume : path or True, optional
        Go on from a checkpoint as if the run had not ended: with the same problem and the same options the result has
        the same bits. Options that say when to end (`epochs`, `tol`, `callback`) may differ. Callbacks see only the
        epochs that are new. True: from the file of `checkpoint` if there is one, else from the start.

    Returns
    -------
    MinimizeResult
        `x` is the iterate with the smallest full gradient, also after divergence or Ctrl-C; see `MinimizeResult`.

    Raises
    ------
    ValueError, TypeError
        Unknown names, values out of range, shapes that do not fit, a checkpoint that is damaged or of another run. The
        message says what is allowed.
    Exception
        What a callback or a function of the problem raises. Then ``error.result`` is what would have been returned
        after a Ctrl-C: the best iterate and the history.

    Examples
    --------
    >>> import numpy as np
    >>> import lpnum
    >>> from lpnum_optim import FiniteSum, minimize
    >>> rng = np.random.default_rng(0)
    >>> X = lpnum.array(rng.standard_normal((200, 10)), dtype=lpnum.fixed8)
    >>> problem = FiniteSum(X, rng.standard_normal(200))
    >>> r = minimize(problem, method="halp", bits=8, tol=1e-10)
    >>> r.converged, r.iterate.codes.dtype, bool(np.linalg.norm(problem.gradient(r.x)) <= 1e-10)
    (True, dtype('int8'), True)
    """
    row = METHODS[choice("minimize", "method", method, METHODS)]
    wanted = resuming.wanted(checkpoint)
    saved = resuming.found(resume, wanted)
    o = options.check(
        problem, method, row.iterate,
        bits=bits, epochs=epochs, step_size=step_size, inner_steps=inner_steps, scale=scale, mu=mu, tol=tol, x0=x0,
        seed=resuming.seed_of(seed, saved), rounding=rounding, engine=engine, batch_size=batch_size, sampling=sampling,
        dtype=dtype, acceleration=acceleration,
    )  # fmt: skip
    callbacks = options.callbacks(callback)
    bar = ProgressBar(label=f"{method} {o.bits}-bit" if row.iterate.quantized else method) if progress else None
    run = _run_type(problem)(problem, method, row, o, [*callbacks, *([bar] if bar else [])])
    run.saver = resuming.saver(run, wanted)
    try:
        if saved is None:
            run.start()
        else:
            resuming.restore(run, saved)
        run.loop()
        run.save()
    except KeyboardInterrupt:
        if run.best is None:  # not even the gradient at the start is known
            raise
        run.end(INTERRUPTED, "interrupted by the keyboard; the best iterate so far is returned")
        run.save()
    except Exception as error:
        run.failed(error)
        raise
    finally:
        if bar:
            bar.close()
    return run.result()


def _run_type(problem: FiniteSum | FunctionSum) -> type[Run]:
    """A problem whose rows are chunks of a Dask array runs the steps of an epoch where these are."""
    if isinstance(problem, FiniteSum) and problem.is_chunked:
        from ._chunked_run import ChunkedRun

        return ChunkedRun
    return Run
