"""Tensors in nested tuples, lists and dictionaries: what forward passes take and return."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["tensors_in", "with_tensors"]


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors, in order.

    >>> import torch
    >>> [t.tolist() for t in tensors_in((torch.ones(1), {"a": [torch.zeros(2)], "b": 3}))]
    [[1.0], [0.0, 0.0]]
    """
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, (tuple, list)) else []


def with_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with ``function(tensor)`` in the place of every tensor; what changes is copied.

    >>> import torch
    >>> with_tensors({"a": [torch.ones(1)], "b": 3}, torch.neg)
    {'a': [tensor([-1.])], 'b': 3}
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        items = {key: with_tensors(item, function) for key, item in value.items()}
        changed = copy.copy(value)
        for key, item in items.items():
            changed[key] = item
        return changed
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(with_tensors(item, function) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(with_tensors(item, function) for item in value)
    return value
