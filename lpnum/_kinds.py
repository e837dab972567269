"""What can be stored in a file: a table of kinds of arrays, each with its header entry and the plain arrays beside it.

All checks of what a file says about an array are here; a container (npz, safetensors) knows names, dtypes and bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lpnum import grid
from lpnum._base import own_policy
from lpnum._schema import Generators, fields, format_from_json, format_to_json, invalid
from lpnum.array import LPArray
from lpnum.block_array import BlockArray
from lpnum.block_formats import BlockFormat
from lpnum.codec import as_codes
from lpnum.formats import FloatFormat

# How many elements a check looks at together: no check allocates more, whatever the file says.
_CHUNK = 1 << 16

# The plain arrays beside a header entry: "codes", "scale", "offset", "values", ...
Parts = dict[str, np.ndarray]


def describe(x: Any, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    """The header entry of an array, and the plain arrays to store beside it."""
    for name, kind in _KINDS.items():
        if type(x) in kind.classes:
            entry, parts = kind.describe(x, generators, where)
            return {"kind": name, **entry}, parts
    raise TypeError(
        f"{where}: expected an LPArray or a numpy.ndarray, not {type(x).__name__}; "
        "make one with lpnum.array or numpy.asarray first"
    )


def layout(entry: Any, where: str) -> dict[str, np.dtype]:
    """Which parts an entry has, with the dtype that each must have: known before anything is read."""
    return _kind(entry, where).layout(entry, where)


def build(entry: Any, parts: Parts, generators: Generators, where: str) -> Any:
    """The array of an entry and its parts; takes the parts without a copy where their byte order is the machine's."""
    return _kind(entry, where).build(entry, parts, generators, where)


def formats_of(entry: dict[str, Any], x: Any) -> dict[str, Any]:
    """The formats of the parts of an array that hold codes, one in each of their elements."""
    return _KINDS[entry["kind"]].formats(x)


def _kind(entry: Any, where: str) -> Kind:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise invalid(where, f"the kind of an array must be one of {sorted(_KINDS)}, not {kind!r:.80}")
    return _KINDS[kind]


_METADATA = ("scale", "offset")
_LPARRAY = ("kind", "format", "scale", "offset", "dtype", "rounding", "overflow", "rng")


def _describe_lparray(x: LPArray, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    parts = {"codes": x.codes}
    entry: dict[str, Any] = {"format": format_to_json(x.format)}
    for name, meta in zip(_METADATA, (x._scale, x._offset), strict=True):
        entry[name] = "array" if meta.ndim else float(meta)
        if meta.ndim:
            parts[name] = meta
    entry |= {"dtype": x.dtype.name, "rounding": x.rounding, "overflow": x.overflow}
    return entry | {"rng": generators.number(x.rng)}, parts


def _layout_lparray(entry: Any, where: str) -> dict[str, np.dtype]:
    _, fmt, scale, offset, *_ = fields(entry, _LPARRAY, where)
    parts = {"codes": format_from_json(fmt, where).storage}
    for name, meta in zip(_METADATA, (scale, offset), strict=True):
        if meta == "array":
            parts[name] = np.dtype(np.float64)
        elif type(meta) not in (int, float):
            raise invalid(where, f'{name} must be a number or "array", not {meta!r:.80}')
    return parts


def _build_lparray(entry: Any, parts: Parts, generators: Generators, where: str) -> LPArray:
    _, fmt, scale, offset, dtype, rounding, overflow, rng = fields(entry, _LPARRAY, where)
    if dtype not in ("float32", "float64"):
        raise invalid(where, f"the dtype of the values must be float32 or float64, not {dtype!r:.80}")
    fmt = format_from_json(fmt, where)
    try:
        codes = as_codes(parts["codes"], fmt, where)
        metas = [
            stored_metadata(parts[name], codes.shape, name) if value == "array" else _number(value, name)
            for name, value in zip(_METADATA, (scale, offset), strict=True)
        ]
        policy = own_policy(rounding, overflow, generators.at(rng, where))
    except (TypeError, ValueError) as error:
        raise error if str(error).startswith(where) else invalid(where, str(error)) from None
    return object.__new__(LPArray)._set(codes, fmt, metas[0], metas[1], np.dtype(dtype), policy)


def _number(value: float, name: str) -> np.ndarray:
    try:
        return grid.as_metadata(float(value), (), name)
    except OverflowError:
        raise ValueError(f"{name}: {value} is beyond the range of float64") from None


def stored_metadata(meta: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A scale or offset array from a file, checked piece by piece and not copied: it may be larger than memory."""
    if meta.ndim and (meta.ndim != len(shape) or any(m not in (1, n) for m, n in zip(meta.shape, shape, strict=True))):
        raise ValueError(f"{name}: shape {meta.shape} does not fit the array's shape {shape}")
    flat = meta.reshape(-1, order="A")
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        if not np.isfinite(part).all() or (name == "scale" and (part == 0).any()):
            raise ValueError(f"{name}: must be finite{' and not 0' if name == 'scale' else ''} everywhere")
    return meta.astype(np.float64, copy=not meta.flags.aligned)


_BLOCKARRAY = ("kind", "format", "axis", "tensor_scale", "dtype", "rounding", "overflow", "rng")


def _describe_blocks(x: BlockArray, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    entry = {"format": format_to_json(x.format), "axis": x.axis, "tensor_scale": x.tensor_scale, "dtype": x.dtype.name}
    entry |= {"rounding": x.rounding, "overflow": x.overflow, "rng": generators.number(x.rng)}
    return entry, {"codes": x.codes, "scale_codes": x.scale_codes}


def _layout_blocks(entry: Any, where: str) -> dict[str, np.dtype]:
    _, fmt, axis, tensor_scale, *_ = fields(entry, _BLOCKARRAY, where)
    if not isinstance(format_from_json(fmt, where), BlockFormat):
        raise invalid(where, "the format of a BlockArray must be of the family block")
    if type(axis) is not int or (type(tensor_scale) not in (int, float) and tensor_scale != "array"):
        raise invalid(where, 'axis must be an integer, and tensor_scale a number or "array"')
    parts = {"codes": np.dtype(np.uint8), "scale_codes": np.dtype(np.uint8)}
    return parts | ({"tensor_scale": np.dtype(np.float64)} if tensor_scale == "array" else {})


def _build_blocks(entry: Any, parts: Parts, generators: Generators, where: str) -> BlockArray:
    _, fmt, axis, tensor_scale, dtype, rounding, overflow, rng = fields(entry, _BLOCKARRAY, where)
    if dtype not in ("float32", "float64"):
        raise invalid(where, f"the dtype of the values must be float32 or float64, not {dtype!r:.80}")
    if tensor_scale == "array":
        tensor_scale = parts["tensor_scale"].item() if parts["tensor_scale"].ndim == 0 else np.nan
    settings = {"axis": axis, "tensor_scale": tensor_scale, "dtype": dtype, "rounding": rounding, "overflow": overflow}
    try:
        with np.errstate(over="ignore"):
            if float(np.float32(tensor_scale)) != tensor_scale:  # a bare comparison would round both sides
                raise ValueError(f"tensor_scale: {tensor_scale!r:.80} is not a float32 number")
        return BlockArray(
            parts["codes"],
            parts["scale_codes"],
            format_from_json(fmt, where),
            rng=generators.at(rng, where),
            **settings,
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise error if str(error).startswith(where) else invalid(where, str(error)) from None


def _formats_of_blocks(x: BlockArray) -> dict[str, Any]:
    whole = isinstance(x.format.element, FloatFormat) and not x.format.packed  # one element in each byte
    return {"scale_codes": x.format.scale_format} | ({"codes": x.format.element} if whole else {})


def _describe_ndarray(x: np.ndarray, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    if not _is_plain(x.dtype):
        raise TypeError(f"{where}: plain arrays of bool, integers, floats or complex numbers, not of {x.dtype}")
    return {"dtype": x.dtype.newbyteorder("<").str}, {"values": x}


def _is_plain(dtype: np.dtype) -> bool:
    return dtype.kind in "biufc" and dtype.isbuiltin != 2 and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _layout_ndarray(entry: Any, where: str) -> dict[str, np.dtype]:
    _, name = fields(entry, ("kind", "dtype"), where)
    if not isinstance(name, str) or not re.fullmatch(r"[<|][biufc]\d{1,2}", name):
        raise invalid(where, f"{name!r:.80} is not a dtype of plain numbers")
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise invalid(where, str(error)) from None
    if not _is_plain(dtype):
        raise invalid(where, f"{name!r:.80} is not a dtype of plain numbers")
    return {"values": dtype}


def _build_ndarray(entry: Any, parts: Parts, generators: Generators, where: str) -> np.ndarray:
    return plain_values(parts["values"], where)


def plain_values(values: np.ndarray, where: str) -> np.ndarray:
    """A plain array as it comes from a file, in the machine's byte order; bools must be 0 and 1."""
    if values.dtype == np.bool_ and values.size and values.view(np.uint8).max() > 1:
        raise invalid(where, "bools other than 0 and 1")
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


@dataclass(frozen=True)
class Kind:
    """How the arrays of some classes are stored."""

    classes: tuple[type, ...]  # these alone: a masked array without its mask would be a wrong array
    describe: Callable[[Any, Generators, str], tuple[dict[str, Any], Parts]]  # -> header entry, arrays beside it
    layout: Callable[[Any, str], dict[str, np.dtype]]  # entry -> dtypes of the arrays beside it
    build: Callable[[Any, Parts, Generators, str], Any]
    formats: Callable[[Any], dict[str, Any]]  # array -> formats of its parts, for files that have dtypes of their own


# The name of the kind in files -> how it is stored.
_KINDS: dict[str, Kind] = {
    "LPArray": Kind((LPArray,), _describe_lparray, _layout_lparray, _build_lparray, lambda x: {"codes": x.format}),
    "BlockArray": Kind((BlockArray,), _describe_blocks, _layout_blocks, _build_blocks, _formats_of_blocks),
    "ndarray": Kind((np.ndarray, np.memmap), _describe_ndarray, _layout_ndarray, _build_ndarray, lambda x: {}),
}
