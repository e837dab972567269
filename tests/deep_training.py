"""Small training runs under a plan: network, optimizer, batch and plan, a step of them, and rounding in plain sight."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

import lpnum
from lpnum_optim.deep import models
from lpnum_optim.deep.plan import PrecisionPlan


def to_grid(x, fmt, rounding="nearest-away", scaled=False):
    values = x.detach().float().contiguous().numpy()
    scale = 1.0
    if scaled and values.size and np.abs(values).max() > 0:
        scale = 2.0 ** math.ceil(math.log2(float(np.abs(values).max()) / fmt.max))
    codes = lpnum.encode(values.astype(np.float64) / scale, fmt, rounding=rounding)
    return torch.tensor(lpnum.decode(codes, fmt, np.float64) * scale).to(x.dtype)


def batch(n=16, size=12, classes=10):
    return torch.randn(n, 3, size, size), torch.randint(0, classes, (n,))


def parts(model=None, n=16, **keywords):
    """A network, its optimizer, a batch and a plan in which everything is low."""
    net = model or models.resnet(width=0.25, n=1)
    x, y = batch(n)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    return net, optimizer, x, y, PrecisionPlan.uniform(net, x, **keywords)


def step(net, optimizer, x, y):
    optimizer.zero_grad()
    loss = functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def state_of(net, optimizer):
    return [t.detach().clone() for t in (*net.parameters(), *(s["momentum_buffer"] for s in optimizer.state.values()))]


def assert_same(now, before):
    assert len(now) == len(before)
    for a, b in zip(now, before, strict=True):
        assert torch.equal(a, b)
