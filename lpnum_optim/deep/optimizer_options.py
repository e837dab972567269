"""Options of a parameter group: checked, and kept as plain values that a checkpoint holds."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from lpnum import _schema, formats
from lpnum.formats import FloatFormat, Format

from .._checks import real

__all__ = ["checked_group", "format_of", "plain_format"]


def plain_format(spec: Any, where: str) -> str | None:
    """A signed number format as text: its name, or its fields as JSON; None stays None.

    >>> plain_format("fixed8", "HALP")
    'fixed8'
    """
    if spec is None:
        return None
    fmt = _parsed(spec) if isinstance(spec, str) and spec.startswith("{") else formats.format(spec)
    signed = getattr(fmt, "signed", False)
    if not signed or (isinstance(fmt, FloatFormat) and not fmt.zero):
        raise ValueError(
            f"{where}: format = {fmt!r}; expected signed fixed point or a signed float with a zero, of 2 to 16 bits, "
            "such as 'fixed8' or 'float8_e4m3fn'"
        )
    return formats.name_of(fmt) or json.dumps(_schema.format_to_json(fmt))


@lru_cache(maxsize=256)
def _parsed(text: str) -> Format:
    if text.startswith("{"):
        fmt: Format = _schema.format_from_json(json.loads(text), "format")
        return fmt
    return formats.format(text)


def format_of(group: dict[str, Any]) -> Format:
    """The format of a group that has one."""
    return _parsed(group["format"])


def checked_group(group: dict[str, Any], where: str, options: tuple[str, ...]) -> dict[str, Any]:
    """A parameter group with its options checked and in plain types.

    Parameters
    ----------
    options : tuple of str
        Those of "format", "mu" and "scale" that the optimizer has.
    """
    known = {"params", "param_names", "lr", "momentum", "weight_decay", "initial_lr", *options}
    unknown = sorted(set(group) - known - {"differentiable", "foreach", "maximize", "capturable", "fused"})
    if unknown:
        raise TypeError(f"{where}: a parameter group has the unknown option {unknown[0]!r}; allowed: {sorted(known)}")
    real(where, "lr", group["lr"], zero=True)  # stays as it is: schedulers may own it
    for name in ("momentum", "weight_decay"):
        group[name] = real(where, name, group[name], zero=True)
    if group["momentum"] >= 1.0:
        raise ValueError(f"{where}: momentum = {group['momentum']}; expected 0 <= momentum < 1")
    for name in set(options) & {"mu", "scale"}:
        if group[name] is not None:
            group[name] = real(where, name, group[name])
    if group.get("mu") is not None and group.get("scale") is not None:
        raise ValueError(f"{where}: mu and scale are both given; give one of them, or none for the automatic rule")
    if "format" in options:
        group["format"] = plain_format(group["format"], where)
    return group
