"""Draw how five methods converge: ``python examples/convergence.py [--data-dir DIR] [--out FILE]``.

The data and the weights of the low-precision methods take 8 bits. Each method gets the same samples in the same order
and its automatic step and scale.
"""

from __future__ import annotations

import _picture

from lpnum_optim.compare import compare, settings, table
from lpnum_optim.minimize import METHODS
from lpnum_optim.plotting import plot_comparison

EPOCHS = 30


def main() -> None:
    """Run all methods on all data sets; print the table, draw the curves."""
    options = _picture.parser(__doc__, _picture.IMAGES / "convergence.png", data=_picture.NPZ).parse_args()
    data = _picture.datasets(options.data_dir, ["digits", "breast-cancer", "synthetic"])
    outcomes = compare(data, settings(METHODS, bits=(8,)), epochs=EPOCHS)
    print(table(outcomes))
    titles = {one.name: f"{one.name}: {one.X.shape[0]} x {one.X.shape[1]}, {one.loss}" for one in data}
    _picture.save(plot_comparison(outcomes, titles), options.out)


if __name__ == "__main__":
    main()
