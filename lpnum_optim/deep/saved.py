"""What autograd keeps for the backward pass, as codes: one byte instead of four (or two) per element.

A tensor that several operators save (the output of a ReLU is the input of the next convolution) is encoded once and its
codes are shared. Compute stays in the tensor's own precision: codes are decoded when the backward pass asks for them.

Autograd says what is saved through ``torch.autograd.graph.saved_tensors_hooks``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from lpnum import formats
from lpnum.formats import Format
from lpnum.random import as_rng

from .codes import decode, encode, is_dense, power_of_two_scale

__all__ = ["CodeStore", "SavedCodes", "compressed_activations"]


@dataclass(eq=False)
class Demand:
    """Whether anybody wants codes of a tensor that is made in every step."""

    wanted: bool = False
    known: bool = False  # one step has shown it


@dataclass(eq=False)
class SavedCodes:
    """A tensor on a grid: codes, and what brings the values back.

    Attributes
    ----------
    codes : tensor or None
        None as long as nobody has asked for them; they are made of the values then.
    fmt, scale : format, float
    dtype : torch.dtype
        Of the values.
    demand : Demand, optional
        Told when the codes are wanted.
    times_saved : int
        How often autograd has saved the tensor.
    """

    codes: Tensor | None
    fmt: Format
    scale: float
    dtype: torch.dtype
    demand: Demand | None = None
    times_saved: int = 0

    def write_to(self, out: Tensor) -> None:
        """Decode into a tensor of the same shape and strides."""
        assert self.codes is not None
        decode(self.codes, self.fmt, scale=self.scale, out=out.detach())

    def values(self) -> Tensor:
        """The decoded tensor."""
        assert self.codes is not None
        return decode(self.codes, self.fmt, scale=self.scale, dtype=self.dtype)


@dataclass(eq=False)
class SavedIntegers:
    """A saved tensor of small integers (where a pooling found its maxima) in the narrowest type that holds them."""

    narrow: Tensor
    dtype: torch.dtype
    times_saved: int = 0

    def values(self) -> Tensor:
        """The integers in their own type."""
        return self.narrow.to(self.dtype)


Saved = SavedCodes | SavedIntegers


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """What identifies the contents of a tensor as long as its storage lives."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor._version, tensor.dtype


class CodeStore:
    """The codes made for tensors that are still alive, found by where a tensor lies in memory.

    An entry is good while both the tensor's storage and its codes live; the store keeps neither alive.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[Any, ...], tuple[StorageWeakRef, weakref.ref[Saved]]] = {}
        self._sweep_at = 64

    def find(self, tensor: Tensor) -> Saved | None:
        """The codes of this very tensor, if it has some."""
        storage, saved = self._entries.get(_place(tensor), (None, None))
        return saved() if storage is not None and saved is not None and not storage.expired() else None

    def add(self, tensor: Tensor, saved: Saved) -> Saved:
        """Remember the codes of a tensor."""
        if len(self._entries) >= self._sweep_at:
            self._entries = {
                place: entry for place, entry in self._entries.items() if not entry[0].expired() and entry[1]()
            }
            self._sweep_at = max(64, 2 * len(self._entries))
        self._entries[_place(tensor)] = StorageWeakRef(tensor.untyped_storage()), weakref.ref(saved)
        return saved

    def keep(self, tensor: Tensor, saved: SavedCodes) -> None:
        """The same, and the codes live as long as the tensor, even if nothing saves them."""
        self.add(tensor, saved)
        tensor._lpnum_codes = saved


def _belongs_to_a_parameter(tensor: Tensor) -> bool:
    owner = tensor if tensor._base is None else tensor._base
    return owner.is_leaf and owner.requires_grad


class SavedTensorHooks:
    """The two hooks of autograd: `pack` when a tensor is saved, `unpack` when the backward pass wants it.

    A tensor that is wanted several times in a row (by the convolution that took it, then by the activation that made
    it) is decoded once.

    Parameters
    ----------
    encoder : callable(tensor) -> SavedCodes or None
        Makes the codes of a floating-point tensor that the store does not know yet; None leaves it.
    store : CodeStore
    min_numel : int
        Smaller tensors are kept as they are.
    """

    def __init__(self, encoder: Callable[[Tensor], SavedCodes | None], store: CodeStore, min_numel: int) -> None:
        self.encoder, self.store, self.min_numel = encoder, store, min_numel
        self._decoded: tuple[Saved, Tensor] | None = None
        self._uses_left = 0

    def pack(self, tensor: Tensor) -> Any:
        """What is kept: codes, narrowed integers, or the tensor itself."""
        if tensor.numel() < self.min_numel or not tensor.is_cpu or _belongs_to_a_parameter(tensor):
            return tensor
        saved = self.store.find(tensor)
        if saved is None:
            if tensor.is_floating_point() and is_dense(tensor):
                saved = self.encoder(tensor.detach())
            elif tensor.dtype == torch.int64:
                saved = _narrowed(tensor)
            if saved is None:
                return tensor
            self.store.add(tensor, saved)
        if isinstance(saved, SavedCodes) and saved.codes is None:
            saved.codes = encode(tensor.detach(), saved.fmt, scale=saved.scale)  # exact: the values are on the grid
        if isinstance(saved, SavedCodes) and saved.demand is not None:
            saved.demand.wanted = True
        saved.times_saved += 1
        return saved

    def unpack(self, saved: Any) -> Tensor:
        """The tensor that the backward pass works with."""
        if not isinstance(saved, Saved):
            return saved
        if self._decoded is not None and self._decoded[0] is saved:
            values = self._decoded[1]
            self._uses_left -= 1
            if self._uses_left <= 0:
                self.forget()
            return values
        self.forget()
        values = saved.values()
        if saved.times_saved > 1 and torch._C._current_graph_task_id() != -1:  # a backward pass runs, and tells its end
            self._decoded, self._uses_left = (saved, values), saved.times_saved - 1
            torch.autograd.Variable._execution_engine.queue_callback(self.forget)
        return values

    def forget(self) -> None:
        """Let go of the tensor that was decoded last."""
        self._decoded = None


def _narrowed(tensor: Tensor) -> SavedIntegers | None:
    low, high = (int(v) for v in torch.aminmax(tensor))
    for dtype in (torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return SavedIntegers(tensor.to(dtype), tensor.dtype)
    return None


@contextmanager
def compressed_activations(
    fmt: Format | str = "float8_e4m3fn",
    *,
    scale: float | None = None,
    rounding: str = "nearest-even",
    rng: Any = None,
    min_numel: int = 4096,
) -> Iterator[None]:
    """Keep what autograd saves as codes of a format, within the block.

    Parameters
    ----------
    fmt : lpnum format or its name
    scale : float, optional
        Of all tensors, whose values beyond the range then become the largest; by default each gets the smallest power
        of two with which it stays within the range. Tensors with a NaN or an infinity are kept as they are.
    rounding : str
        "stochastic" makes the gradients unbiased in what is saved.
    rng : int or CounterRNG, optional
        Of stochastic rounding.
    min_numel : int
        Smaller tensors are kept as they are, as are parameters. Integers of 64 bits (the places of pooled maxima) are
        kept, without loss, in the narrowest type that holds them.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 10_000, requires_grad=True)
    >>> with compressed_activations("float8_e4m3fn"):
    ...     y = torch.sigmoid(x * 2).sum()   # saves 10,000 bytes in place of 40,000
    >>> y.backward()
    >>> bool((x.grad - 2 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)).abs().max() < 0.05)
    True
    """
    if min_numel < 1:
        raise ValueError(f"compressed_activations: min_numel = {min_numel}; expected an integer >= 1")
    chosen = formats.format(fmt)
    source = None if rng is None else as_rng(rng)

    def encoder(tensor: Tensor) -> SavedCodes | None:
        if tensor.element_size() <= chosen.storage.itemsize:
            return None
        factor = power_of_two_scale(tensor, chosen) if scale is None else scale
        if not math.isfinite(factor):
            return None  # NaN or infinity: the step is lost, and the gradients have to show it
        try:
            codes = encode(tensor, chosen, scale=factor, rounding=rounding, rng=source)
        except ValueError:  # NaN
            return None
        return SavedCodes(codes, chosen, factor, tensor.dtype)

    hooks = SavedTensorHooks(encoder, CodeStore(), min_numel)
    with torch.autograd.graph.saved_tensors_hooks(hooks.pack, hooks.unpack):
        yield
