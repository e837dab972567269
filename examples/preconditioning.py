"""Draw what one scale per column does for ill-conditioned data: ``python examples/preconditioning.py [--out FILE]``.

The standard deviations of the columns spread over 1,000. As float32 data the problem has a condition number of
1e6 and more: the step follows from the largest columns, so that the coefficients of the small ones hardly move, in
float64 as in 8 bits. Stored as 8-bit codes with one scale per column the same problem is well conditioned: the
coordinates are in the units of the columns, a diagonal preconditioner that costs nothing.
"""

from __future__ import annotations

import _picture
import numpy as np
from matplotlib.figure import Figure

import lpnum
from lpnum_optim import FiniteSum, MinimizeResult, minimize

EPOCHS = 25


def problems(n: int = 2000, d: int = 40, spread: float = 1e3, seed: int = 0) -> tuple[FiniteSum, FiniteSum]:
    """Least squares on the same values: float32 data, and 8-bit codes with one scale per column."""
    rng = np.random.default_rng(seed)
    units = spread ** -np.linspace(0, 1, d)
    X = lpnum.array(rng.standard_normal((n, d)) * units, dtype=lpnum.fixed8, axis=1)
    values = X.dequantize()
    y = values @ (rng.standard_normal(d) / units) + rng.standard_normal(n)
    return FiniteSum(values.astype(np.float32), y), FiniteSum(X, y)


def runs() -> dict[str, MinimizeResult]:
    """The curves by name."""
    plain, scaled = problems()
    return {
        "SVRG, float64": minimize(plain, "svrg", epochs=EPOCHS),
        "HALP, 8 bits": minimize(plain, "halp", epochs=EPOCHS, acceleration=0),
        "HALP, 8 bits, accelerated": minimize(plain, "halp", epochs=EPOCHS),
        "SVRG, column scales": minimize(scaled, "svrg", epochs=EPOCHS),
        "HALP, 8 bits, column scales": minimize(scaled, "halp", epochs=EPOCHS),
    }


def draw(results: dict[str, MinimizeResult]) -> Figure:
    """The gap of the objective over the epochs."""
    best = min(r.fun for r in results.values())
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for name, r in results.items():
        gap = (r.history["objective"] - best) / (r.history["objective"][0] - best)
        style = "--" if name.startswith("SVRG") else "-"
        ax.semilogy(np.maximum(gap, 1e-16), style, marker=".", zorder=3 if style == "--" else 2, label=name)
        print(f"{name:<30} gap {gap[-1]:.1e}, gradient {r.history['grad_norm'][-1] / r.history['grad_norm'][0]:.1e}")
    ax.set_xlabel("epochs")
    ax.set_ylabel("objective above the minimum, relative to the start")
    ax.grid(True, alpha=0.3)
    ax.legend()
    return figure


def main() -> None:
    """Run all, and draw."""
    options = _picture.parser(__doc__, _picture.IMAGES / "preconditioning.png").parse_args()
    _picture.save(draw(runs()), options.out)


if __name__ == "__main__":
    main()
