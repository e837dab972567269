"""Training in low precision: SGD, SVRG, their low-precision forms and HALP, on top of `lpnum` arrays.

>>> import numpy as np, lpnum
>>> from lpnum_optim import FiniteSum, minimize
>>> problem = FiniteSum(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]), [1.0, 2.0, 4.0])
>>> r = minimize(problem, method="svrg", epochs=2000, tol=1e-8)
>>> r.converged
True
"""

from .callbacks import ProgressBar, State, Trace
from .minimize import METHODS, minimize
from .problem import FiniteSum, FunctionSum
from .result import MinimizeResult

__all__ = ["METHODS", "FiniteSum", "FunctionSum", "MinimizeResult", "ProgressBar", "State", "Trace", "minimize"]
