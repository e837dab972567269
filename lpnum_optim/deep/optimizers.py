"""SGD, SVRG, their low-precision forms and HALP for torch: a gradient estimate times an iterate storage.

=========  ==================  ==========================================
optimizer  gradient estimate   iterate
=========  ==================  ==========================================
SGD        stochastic          floats
LPSGD      stochastic          codes on a fixed grid
SVRG       variance reduced    floats
LPSVRG     variance reduced    codes on a fixed grid
HALP       variance reduced    bit centered: offset in floats, plus codes
=========  ==================  ==========================================
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .iterates import BitCentered, Floats, OnFixedGrid
from .optimizer_base import Optimizer
from .passes import all_finite, full_pass, gradients_of, weights_at

__all__ = ["HALP", "LPSGD", "LPSVRG", "SGD", "SVRG"]


class _Stochastic(Optimizer):
    """Steps along the gradient of the batch."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step along the gradient of a batch.

        Parameters
        ----------
        closure : callable, optional
            Clears the gradients, computes the loss, calls ``backward()`` and returns the loss. Without it, the
            gradients are those that the parameters have.

        Returns
        -------
        What the closure returned. If it, or a gradient, is not finite, the step is left out and counted in `skipped`.
        """
        where = f"{type(self).__name__}.step"
        self._check_unchanged()
        loss, value = None, 0.0
        buffers = self._network.buffers()
        if closure is not None:
            loss, value = gradients_of(closure, self._trained(), where)
        parameters = [p for p in self._trained() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not (value - value == 0.0 and all_finite(gradients)):
            self._skip(buffers)
            return loss
        self._move(parameters, gradients)
        return loss


class _VarianceReduced(Optimizer):
    """Steps along gradient at w - gradient at the snapshot + full gradient at the snapshot."""

    @torch.no_grad()
    def snapshot(self, closures: Any) -> float:
        """Take the full gradient at the present weights, which become the snapshot; begin an epoch there.

        Parameters
        ----------
        closures : iterable of (closure, batch size), or callable
            All batches of the data, as `lpnum_optim.deep.closures` makes them; or one closure over all data. Gradients
            are weighted by the sizes of their batches.

        Returns
        -------
        float
            The mean loss over the data.

        Raises
        ------
        FloatingPointError
            The loss or the gradient is not finite. As with every error, nothing has changed.
        """
        where = f"{type(self).__name__}.snapshot"
        buffers = self._network.buffers()
        try:
            loss, gradients, batches = full_pass(closures, self._trained(), where)
        finally:
            self._network.restore(buffers)
        if not (loss - loss == 0.0 and all_finite(list(gradients.values()))):
            raise FloatingPointError(
                f"{where}: the loss over the data is {loss} and its gradient is not finite; nothing was changed. "
                "Lower the learning rate and begin again at weights from before"
            )
        self._begin_epoch(batches)
        for group in self.param_groups:
            for p in group["params"]:
                self._begin_tensor(p, group, gradients.get(p))
        return loss

    def _begin_tensor(self, p: nn.Parameter, group: dict[str, Any], gradient: Tensor | None) -> None:
        """A tensor's part of a snapshot; one that got no gradient leaves the method."""
        if gradient is None:
            self._leave(p)
            return
        state = self.state[p]
        state["full_gradient"] = gradient
        if "snapshot" in state:
            state["snapshot"].copy_(p.data)
        else:
            state["snapshot"] = p.data.clone(memory_format=torch.preserve_format)
        self._storage_of(group).begin_epoch(p, group, self)

    @torch.no_grad()
    def step(self, closure: Any) -> Any:
        """Take a step along the variance-reduced gradient of a batch.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss, calls ``backward()`` and returns the loss. It is called twice,
            first at the snapshot, with the same random numbers of torch.

        Returns
        -------
        What the closure returned at the present weights. If it, or a gradient, is not finite, the step is left out and
        counted in `skipped`.
        """
        where = f"{type(self).__name__}.step"
        if not callable(closure):
            raise TypeError(f"{where}: expected a closure, which is called at two points; not {closure!r:.80}")
        parameters = [p for p in self._trained() if "full_gradient" in self.state.get(p, {})]
        if not parameters:
            raise RuntimeError(f"{where}: there is no full gradient yet; call snapshot(closures) before the first step")
        self._check_unchanged()
        buffers = self._network.buffers()
        trained = self._trained()
        try:
            with (
                self._network.random_state(parameters),
                weights_at(parameters, [self.state[p]["snapshot"] for p in parameters]),
            ):
                _, value_there = gradients_of(closure, trained, where)
                there = {p: p.grad for p in parameters}
        finally:
            self._network.restore(buffers)
        loss, value = gradients_of(closure, trained, where)
        new = [p for p in trained if p.grad is not None and p not in there]
        if new:
            raise RuntimeError(
                f"{where}: {len(new)} parameters have a gradient, one of shape {tuple(new[0].shape)}, but had none in "
                "the last snapshot; call snapshot again when parameters are added or unfrozen"
            )
        estimates = self._estimates(parameters, there)
        finite = value - value == 0.0 and value_there - value_there == 0.0
        if not (finite and all_finite(estimates)):
            self._skip(buffers)
            return loss
        self._move(parameters, estimates)
        return loss

    def _estimates(self, parameters: list[nn.Parameter], there: dict[nn.Parameter, Tensor | None]) -> list[Tensor]:
        """The estimates, which replace the gradients in ``p.grad``; no gradient counts as zero."""
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p, memory_format=torch.preserve_format)
        estimates = [p.grad for p in parameters if p.grad is not None]
        pairs = [(e, g) for e, p in zip(estimates, parameters, strict=True) if (g := there[p]) is not None]
        if pairs:
            torch._foreach_sub_([e for e, _ in pairs], [g for _, g in pairs])
        torch._foreach_add_(estimates, [self.state[p]["full_gradient"] for p in parameters])
        return estimates


class _InFloats(Optimizer):
    storage = Floats()

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        module: nn.Module | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, module=module)


class _OnFixedGrid(Optimizer):
    storage = OnFixedGrid()

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        format: Any = "fixed8",
        scale: float | None = None,
        rounding: str = "stochastic",
        seed: int = 0,
        module: nn.Module | None = None,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "format": format, "scale": scale}
        super().__init__(params, defaults, rounding=rounding, seed=seed, module=module)


class SGD(_InFloats, _Stochastic):
    """Stochastic gradient descent in floats, with momentum and weight decay as in `torch.optim.SGD`.

    Parameters and attributes as for `HALP`.
    """


class SVRG(_InFloats, _VarianceReduced):
    """Stochastic variance-reduced gradient in floats (Johnson and Zhang, NIPS 2013).

    Parameters and attributes as for `HALP`.
    """


class LPSGD(_OnFixedGrid, _Stochastic):
    """SGD whose weights are codes on a fixed grid: ``w <- Q(w - lr * g)``.

    Parameters and attributes as for `HALP`. The grid of a tensor begins at 1.25 times its largest weight and is widened
    when its weights have grown out of it, unless `scale` fixes it.
    """


class LPSVRG(_OnFixedGrid, _VarianceReduced):
    """SVRG whose weights are codes on a fixed grid, as those of `LPSGD`.

    Parameters and attributes as for `HALP`.
    """


class HALP(_VarianceReduced):
    r"""SVRG with bit centering: the weights of a tensor are ``offset + scale * decode(codes)``.

    .. math:: z \leftarrow Q_k\left(z - \alpha
              \left(g_i(\tilde w + z) - g_i(\tilde w) + \nabla f(\tilde w)\right)\right)

    The offset :math:`\tilde w` is the snapshot, in the parameter's dtype; the codes of z take one byte per weight (two
    in 16-bit formats). Every `snapshot` moves the offset to the present weights and chooses the grid anew, the finer
    the smaller the full gradient is: so few bits do not limit the accuracy.

    Parameters
    ----------
    params : iterable of parameters or of groups
        A group may have its own `lr`, `momentum`, `weight_decay`, `format`, `mu` and `scale`.
    lr : float
        Learning rate; schedulers may change it.
    momentum : float
        In 0 .. 1, as in `torch.optim.SGD`, of the variance-reduced gradient. The buffer is kept across snapshots.
    weight_decay : float
        At least 0: the gradient of ``weight_decay / 2 * |w|^2`` at the whole weight is part of every step, and of the
        full gradient that chooses the grid.
    format : format, its name, or None
        Signed fixed point or floats of up to 16 bits. None keeps z in floats.
    mu : float, optional
        The rule of the paper for the grid of a tensor: its end is at ``|full gradient|_2 / mu``.
    scale : float, optional
        Fixes the distance of neighboring values (of the value 1 of a float format).
    rounding : str
        As in `lpnum.encode`. To nearest, steps below half of the scale are lost: for experiments only.
    seed : int
        Of the random bits of stochastic rounding.
    module : nn.Module, optional
        The network, for its buffers (statistics of batch normalization): only steps at the present weights change them,
        neither passes at the snapshot nor steps left out.

    Attributes
    ----------
    skipped : int
        Steps left out because the loss or a gradient was not finite.

    Notes
    -----
    Without `mu` and `scale` every tensor has the rule of the linear models, `lpnum_optim.scale_rules.Automatic`,
    adapted in `lpnum_optim.deep.tensor_scales`. The codes are the truth, the weights follow them: weights changed from
    outside (in place, not through ``.data``) are noticed at the next step.

    References
    ----------
    De Sa et al., "High-accuracy low-precision training", 2018, arXiv:1803.03383.

    Examples
    --------
    >>> import torch
    >>> from lpnum_optim import deep
    >>> inputs = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    >>> targets = inputs @ torch.arange(5.0).reshape(5, 1)
    >>> model = torch.nn.Linear(5, 1)
    >>> optimizer = deep.HALP(model.parameters(), lr=0.1)
    >>> batches = list(zip(inputs.split(8), targets.split(8)))
    >>> for epoch in range(10):
    ...     loss = optimizer.snapshot(deep.closures(model, torch.nn.functional.mse_loss, batches))
    ...     for step, _ in deep.closures(model, torch.nn.functional.mse_loss, batches):
    ...         _ = optimizer.step(step)
    >>> loss < 1e-6, optimizer.state[model.weight]["codes"].dtype
    (True, torch.int8)
    """

    storage = BitCentered()

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        format: Any = "fixed8",
        mu: float | None = None,
        scale: float | None = None,
        rounding: str = "stochastic",
        seed: int = 0,
        module: nn.Module | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "format": format, "mu": mu, "scale": scale,
        }  # fmt: skip
        super().__init__(params, defaults, rounding=rounding, seed=seed, module=module)
