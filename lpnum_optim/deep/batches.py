"""Batches of a data set: in the order that (seed, epoch) gives, transformed, and resumed where they were left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpnum_optim._checks import integer

from .draws import Draws, permutation
from .transforms import Images, Transform, stacked

__all__ = ["Batches"]


def to_float(images: Images) -> Tensor:
    """The transform if none is given: images to 0..1; everything else as it is."""
    batch = stacked("Batches", images)
    return batch.float().div_(255) if batch.dtype == torch.uint8 and batch.ndim == 4 else batch


def _tensor(part: Any) -> Any:
    """Arrays and lists as tensors, without a copy if possible; files as they are."""
    return part if isinstance(part, Tensor) or hasattr(part, "read") else torch.as_tensor(part)


class Batches:
    """Iterable of (inputs, targets).

    The k-th batch of an epoch is a function of (data, seed, epoch, k) alone: iterating twice, resuming, or reading in
    several threads gives the same numbers, and an image is cropped and flipped alike whatever the batch size is.
    A whole pass advances `epoch` by one.

    Parameters
    ----------
    data : ImageSet or pair (inputs, targets)
        Tensors, arrays or lists of equal lengths. Integer targets come as int64.
    batch_size : int
    transform : Transform or function, optional
        Of the inputs of a batch. If not given, uint8 images become float32 in 0..1.
    shuffle : bool
        Another random order in each epoch; otherwise the order of the data.
    seed : int
        0 to 2**64 - 1; of the order and of the transforms.
    limit : int, optional
        Use only so many samples: a random part, but the same one for every seed, and contained in that of a larger
        limit.
    drop_last : bool
        Leave out the last batch if it is smaller.
    workers : int
        Threads that prepare batches ahead: for image files, whose decoding takes the time.

    Attributes
    ----------
    epoch : int

    Examples
    --------
    >>> data = torch.arange(10.0), torch.arange(10)
    >>> batches = Batches(data, 4, seed=1)
    >>> [targets.tolist() for _, targets in batches]
    [[8, 5, 2, 0], [7, 6, 4, 1], [9, 3]]
    >>> batches.epoch, [targets.tolist() for _, targets in batches]
    (1, [[4, 7, 8, 2], [3, 0, 6, 1], [9, 5]])
    """

    def __init__(
        self, data: Any, batch_size: int, *, transform: Callable[..., Any] | None = None, shuffle: bool = True,
        seed: int = 0, limit: int | None = None, drop_last: bool = False, workers: int = 0,
    ) -> None:  # fmt: skip
        self.inputs, self.targets = (_tensor(part) for part in data)
        if len(self.inputs) != len(self.targets):
            raise ValueError(f"Batches: {len(self.inputs)} inputs and {len(self.targets)} targets; expected as many")
        samples = integer("Batches", "the number of samples", len(self.targets), 1)
        self.batch_size = integer("Batches", "batch_size", batch_size, 1)
        self.seed = integer("Batches", "seed", seed, 0, 2**64 - 1)
        self.workers = integer("Batches", "workers", workers, 0, 256)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.transform = to_float if transform is None else transform
        if not callable(self.transform):
            raise TypeError(f"Batches: transform = {transform!r}; expected a Transform or a function of the inputs")
        self._subset: Any = None
        if limit is not None and integer("Batches", "limit", limit, 1) < samples:
            self._subset = np.sort(permutation(0, 0, samples)[:limit])
        self.samples = samples if self._subset is None else len(self._subset)
        if len(self) == 0:
            raise ValueError(
                f"Batches: {self.samples} samples make no batch of {self.batch_size}; "
                "choose a smaller batch_size or drop_last=False"
            )
        self._epoch = self._position = self._resume = 0
        self._order: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        full, rest = divmod(self.samples, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """Number of the pass that is running or comes next."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that comes next; what was loaded of that very epoch stays."""
        epoch = integer("Batches.set_epoch", "epoch", epoch, 0)
        if epoch != self._epoch:
            self._epoch, self._position, self._resume = epoch, 0, 0

    def indices(self, epoch: int, k: int) -> np.ndarray:
        """Which samples the k-th batch of an epoch holds."""
        known, order = self._order
        if known != epoch:
            order = permutation(self.seed, epoch, self.samples) if self.shuffle else np.arange(self.samples)
            order = order if self._subset is None else self._subset[order]
            self._order = epoch, order
        return order[k * self.batch_size : (k + 1) * self.batch_size]

    def batch(self, epoch: int, k: int) -> tuple[Tensor, Tensor]:
        """The k-th batch of an epoch; the state does not change."""
        where = self.indices(epoch, integer("Batches.batch", "k", k, 0, len(self) - 1))
        return self._prepare(epoch, where)

    def _prepare(self, epoch: int, where: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(where)
        # index_select copies rows, indexing elements: 20 times as fast for images.
        inputs = self.inputs.index_select(0, rows) if isinstance(self.inputs, Tensor) else self.inputs.read(where)
        if isinstance(self.transform, Transform):
            inputs = stacked("Batches", self.transform(inputs, Draws(self.seed, epoch, where)))
        else:
            inputs = self.transform(inputs)
        targets = self.targets.index_select(0, rows)
        return inputs, targets if targets.is_floating_point() else targets.long()

    def _ahead(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The rest of an epoch, prepared by threads, in order."""
        places = [self.indices(epoch, k) for k in range(start, len(self))]
        with ThreadPoolExecutor(self.workers, "lpnum-batches") as pool:
            jobs = (pool.submit(self._prepare, epoch, where) for where in places)
            waiting: deque[Future[tuple[Tensor, Tensor]]] = deque(islice(jobs, self.workers + 1))
            try:
                while waiting:
                    result = waiting.popleft().result()
                    waiting.extend(islice(jobs, 1))
                    yield result
            finally:
                pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self._epoch, self._resume
        self._resume, self._position = 0, start
        if self.workers:
            rest = self._ahead(epoch, start)
        else:
            rest = (self.batch(epoch, k) for k in range(start, len(self)))
        for k, batch in enumerate(rest, start + 1):
            self._position = k
            yield batch
        self._epoch, self._position = epoch + 1, 0

    def _identity(self) -> dict[str, int]:
        """What has to be equal for a state to mean the same batches."""
        return {"seed": self.seed, "batch_size": self.batch_size, "samples": self.samples,
                "shuffle": int(self.shuffle), "drop_last": int(self.drop_last)}  # fmt: skip

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many of its batches were given out, for `load_state_dict`."""
        return {"epoch": self._epoch, "position": self._position, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass is the rest of the one in which the state was taken (nothing, if that was after its last)."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ValueError(
                    f"Batches.load_state_dict: {name} was {state.get(name)!r} and is {value!r}; make the Batches as "
                    "those were whose state it is"
                )
        where = "Batches.load_state_dict"
        epoch = integer(where, "epoch", state.get("epoch"), 0)
        position = integer(where, "position", state.get("position"), 0, len(self))
        self._epoch, self._position, self._resume = epoch, position, position
