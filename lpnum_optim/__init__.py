"""Training in low precision: SGD, SVRG, their low-precision forms and HALP, on top of `lpnum` arrays.

>>> import numpy as np, lpnum
>>> from lpnum_optim import FiniteSum, minimize
>>> rng = np.random.default_rng(0)
>>> X = lpnum.array(rng.standard_normal((500, 20)), dtype=lpnum.fixed8)
>>> problem = FiniteSum(X, X.dequantize().sum(axis=1) + rng.standard_normal(500))
>>> halp, fixed_grid = (minimize(problem, method, bits=8, epochs=40) for method in ("halp", "lp-svrg"))
>>> halp.grad_norm < 1e-12, fixed_grid.grad_norm > 1e-2, halp.iterate.nbytes
(True, True, 20)
"""

from .bits_needed import BitsNeeded, bits_needed
from .callbacks import Deadline, EarlyStopping, ProgressBar, State, Trace
from .checkpoint import Checkpoint
from .data_kinds import SparseCodes, quantize_sparse
from .minimize import METHODS, minimize
from .problem import FiniteSum, FunctionSum
from .result import MinimizeResult

__all__ = [
    "METHODS", "BitsNeeded", "Checkpoint", "Deadline", "EarlyStopping", "FiniteSum", "FunctionSum", "MinimizeResult",
    "ProgressBar", "SparseCodes", "State", "Trace", "bits_needed", "minimize", "quantize_sparse",
]  # fmt: skip
