"""Draw the bytes of every group of a network under a plan: ``python examples/precision_report.py [--out FILE]``.

ResNet-18 at batch 128 on 32 x 32 images, as in the paper on precision assignments, with 70 % of the elements in 8 bits.
The network and the batch are on torch's device "meta": nothing is computed or allocated.
"""

from __future__ import annotations

import _picture
import torch

from lpnum_optim.deep import PrecisionPlan
from lpnum_optim.deep.models import resnet18

RATIO = 0.7


def main() -> None:
    """Make the plan, print its totals and draw its report."""
    options = _picture.parser(__doc__, _picture.IMAGES / "precision_report.png").parse_args()
    with torch.device("meta"):
        network, batch = resnet18(100), torch.empty(128, 3, 32, 32)
    report = PrecisionPlan.demote(network, batch, RATIO).report()
    print(report.summary)
    _picture.save(report.plot(), options.out)


if __name__ == "__main__":
    main()
