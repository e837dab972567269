"""To and from other libraries' low-precision arrays: ml_dtypes and torch.

Codes are shared where both sides store them alike. Scale and offset are never dropped silently: a dtype has no place
for them, so they must be 1 and 0, unless ``return_grid=True`` hands them out beside the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import formats, grid
from lpnum._safetensors import pack4, unpack4
from lpnum.array import LPArray
from lpnum.formats import FixedFormat, Format

__all__ = ["from_ml_dtypes", "from_torch", "to_ml_dtypes", "to_torch"]

_INTEGER_FORMATS = [formats.format(name) for name in ("fixed8", "ufixed8", "fixed16", "ufixed16")]
_OF_DTYPE: dict[np.dtype, Format] = {fmt.storage: fmt for fmt in _INTEGER_FORMATS}


def codes_of_plain(values: Any, where: str) -> tuple[np.ndarray, Format]:
    """Integers of 8 or 16 bits, or float16, as codes of the format with these values; no copy in native byte order."""
    array = np.asarray(values)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.float16:
        return array.view(np.uint16), formats.format("float16")
    if array.dtype not in _OF_DTYPE:
        raise TypeError(f"{where}: expected int8, uint8, int16 or uint16, not {array.dtype}")
    return array, _OF_DTYPE[array.dtype]


def check_lparray(x: Any, where: str) -> LPArray:
    """`x`, which must be an LPArray."""
    if not isinstance(x, LPArray):
        raise TypeError(f"{where}: expected an LPArray, not {type(x).__name__}")
    return x


def grid_of_codes(x: LPArray) -> tuple[Any, Any]:
    """Scale and offset for the codes as other libraries read them: integers, without a binary point."""
    return grid.plain(x._scale * x.format.unit), x.offset


def with_grid(data: Any, x: LPArray, return_grid: bool, where: str) -> Any:
    """`data` alone if it has the values of `x`, or with the grid beside it."""
    scale, offset = grid_of_codes(x)
    if return_grid:
        return data, scale, offset
    if not (np.all(np.asarray(scale) == 1) and np.all(np.asarray(offset) == 0)):
        raise ValueError(
            f"{where}: the array has a scale or an offset ({x.format!r}), which the result cannot hold; take them with "
            "return_grid=True, or convert the values with x.dequantize()"
        )
    return data


# ---- ml_dtypes -----------------------------------------------------------------------------------------------------

# Formats whose codes NumPy's own dtypes hold, and integers of ml_dtypes under another name than here.
_NUMPY_DTYPE = {fmt: fmt.storage for fmt in _INTEGER_FORMATS} | {formats.format("float16"): np.dtype(np.float16)}
_INTEGERS_OF_ML_DTYPES = {
    "int4": FixedFormat(4),
    "uint4": FixedFormat(4, signed=False),
    "int2": FixedFormat(2),
    "uint2": FixedFormat(2, signed=False),
}


def _ml_dtypes(where: str) -> Any:
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(f'{where} needs ml_dtypes: pip install "lpnum[interop]"') from error
    return ml_dtypes


def _named_as_in_ml_dtypes() -> dict[str, Format]:
    floats = {name: fmt for name, fmt in formats.named().items() if not isinstance(fmt, FixedFormat)}
    return {name: fmt for name, fmt in floats.items() if fmt not in _NUMPY_DTYPE} | _INTEGERS_OF_ML_DTYPES


def to_ml_dtypes(x: LPArray, *, return_grid: bool = False) -> Any:
    """The array as a plain ndarray of the ml_dtypes (or NumPy) dtype of its format; the codes are shared.

    Parameters
    ----------
    x : LPArray
        Of a float format of ml_dtypes, of float16, or of fixed point with 2, 4, 8 or 16 bits.
    return_grid : bool
        Whether to return scale and offset too. Without it they must be 1 and 0.

    Returns
    -------
    a : ndarray
        A view of ``x.codes``.
    scale, offset : float or float64 ndarray
        With `return_grid`: ``x`` is ``offset + scale * a``.

    Raises
    ------
    TypeError
        If ml_dtypes has no dtype for the format.
    ValueError
        If the array has a scale or offset and `return_grid` is not given.

    Examples
    --------
    >>> lpnum.to_ml_dtypes(lpnum.array([1.0, -0.3], dtype=lpnum.float8_e4m3fn))
    array([1, -0.3125], dtype='float8_e4m3fn')
    >>> lpnum.to_ml_dtypes(lpnum.array([1.0, -0.5]), return_grid=True)
    (array([127, -64], dtype=int8), 0.007874015748031496, 0.0)
    """
    where = "lpnum.to_ml_dtypes"
    fmt = _integers_of(check_lparray(x, where).format)
    dtype = _NUMPY_DTYPE.get(fmt)
    if dtype is None:
        names = [name for name, known in _named_as_in_ml_dtypes().items() if known == fmt]
        ml_dtypes = _ml_dtypes(where) if names else None
        if not names or not hasattr(ml_dtypes, names[0]):
            raise TypeError(f"{where}: ml_dtypes has no dtype for {x.format!r}; use x.codes or x.astype(format)")
        dtype = np.dtype(getattr(ml_dtypes, names[0]))
    return with_grid(x.codes.view(dtype), x, return_grid, where)


def _integers_of(fmt: Format) -> Format:
    """The format of the codes without a binary point, which `grid_of_codes` moves into the scale."""
    return FixedFormat(fmt.bits, signed=fmt.signed) if isinstance(fmt, FixedFormat) else fmt


def from_ml_dtypes(a: Any, scale: Any = 1.0, offset: Any = 0.0, *, dtype: Any = np.float64) -> LPArray:
    """Array of the values ``offset + scale * a``; the codes share memory with `a` (int4 and int2 are copied).

    Parameters
    ----------
    a : ndarray
        Of a dtype of ml_dtypes, float16, int8, uint8, int16 or uint16.
    scale, offset : float or array_like
    dtype : {float32, float64}
        NumPy dtype of the values.

    Examples
    --------
    >>> import ml_dtypes
    >>> a = np.array([1.0, -448.0], dtype=ml_dtypes.float8_e4m3fn)
    >>> x = lpnum.from_ml_dtypes(a)
    >>> x, np.shares_memory(x.codes, a)
    (LPArray([   1., -448.], format=lpnum.float8_e4m3fn, scale=1), True)
    """
    where = "lpnum.from_ml_dtypes"
    array = np.asarray(a)
    if array.dtype.isbuiltin == 2:  # registered by another library
        ml_dtypes = _ml_dtypes(where)
        for name, fmt in _named_as_in_ml_dtypes().items():
            if hasattr(ml_dtypes, name) and array.dtype == np.dtype(getattr(ml_dtypes, name)):
                return LPArray(_sign_extended(array.view(fmt.storage), fmt), fmt, scale, offset, dtype)
    codes, fmt = codes_of_plain(array, where)
    return LPArray(codes, fmt, scale, offset, dtype)


def _sign_extended(codes: np.ndarray, fmt: Format) -> np.ndarray:
    """Codes of int4 and int2, whose upper bits ml_dtypes leaves open, in two's complement of the whole byte."""
    if not isinstance(fmt, FixedFormat):
        return codes
    if not fmt.signed:
        return codes & fmt.storage.type(fmt.code_max)
    shift = 8 - fmt.bits
    return (codes << shift) >> shift


# ---- torch ---------------------------------------------------------------------------------------------------------

# torch's names; its packed float4 is not one byte per number and is written out below.
_TORCH_DTYPES = {
    **{name: formats.format(name) for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")},
    **{name: formats.format(name) for name in ("float8_e8m0fnu", "bfloat16", "float16")},
    **{fmt.storage.name: fmt for fmt in _INTEGER_FORMATS},
}
_TORCH_FLOAT4 = "float4_e2m1fn_x2"


def _torch(where: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f'{where} needs torch: pip install "lpnum[torch]"') from error
    return torch


def to_torch(x: LPArray, *, return_grid: bool = False, copy: bool | None = None) -> Any:
    """The array as a torch tensor of the dtype of its format, on the CPU.

    Parameters
    ----------
    x : LPArray
        Of float8_e4m3fn, _e4m3fnuz, _e5m2, _e5m2fnuz, _e8m0fnu, bfloat16, float16, or fixed point (in int8, uint8,
        int16, uint16), or of float4_e2m1fn, packed two to a byte along the last axis, whose length must be even.
    return_grid : bool
        Whether to return scale and offset too. Without it they must be 1 and 0.
    copy : bool, optional
        None: the tensor shares the codes unless torch cannot (read-only, negative strides, float4); True: it never
        does; False: an error where it cannot.

    Returns
    -------
    t : torch.Tensor
    scale, offset : float or float64 ndarray
        With `return_grid`: ``x`` is ``offset + scale * t``.

    Examples
    --------
    >>> x = lpnum.array([1.0, -0.3], dtype=lpnum.float8_e5m2)
    >>> lpnum.to_torch(x).float()                                                   # doctest: +SKIP
    tensor([ 1.0000, -0.3125])
    """
    where = "lpnum.to_torch"
    torch = _torch(where)
    fmt = _integers_of(check_lparray(x, where).format)
    if isinstance(fmt, FixedFormat):  # 4 bits lie in a byte as in 8
        fmt = _OF_DTYPE[fmt.storage]
    names = [name for name, known in _TORCH_DTYPES.items() if known == fmt]
    codes = x.codes
    if fmt == formats.format("float4_e2m1fn"):
        if codes.ndim == 0 or codes.shape[-1] % 2:
            raise ValueError(f"{where}: torch packs two float4 in a byte, and the last axis of {codes.shape} is odd")
        names, codes = [_TORCH_FLOAT4], pack4(codes)
    if not names or not hasattr(torch, names[0]):
        raise TypeError(
            f"{where}: torch has no dtype for {x.format!r}; use x.codes, x.astype(format) or x.dequantize()"
        )
    shared = codes is x.codes and codes.flags.writeable and all(stride >= 0 for stride in codes.strides)
    if copy is False and not shared:
        raise ValueError(f"{where}: copy=False, but torch cannot share read-only, reversed or 4-bit codes")
    if codes is x.codes and (copy or not shared):
        codes = codes.copy()
    raw = torch.from_numpy(codes.view(np.int16) if codes.dtype == np.uint16 else codes)
    return with_grid(raw.view(getattr(torch, names[0])), x, return_grid, where)


def from_torch(t: Any, scale: Any = 1.0, offset: Any = 0.0, *, dtype: Any = np.float64) -> LPArray:
    """Array of the values ``offset + scale * t``; the codes share memory with a tensor on the CPU.

    Parameters
    ----------
    t : torch.Tensor
        Of one of the dtypes of `to_torch`, or quantized (qint8, quint8; per tensor or per channel), whose scale and
        zero point are taken over. Gradients are not carried along. From another device the data are copied.
    scale, offset : float or array_like
    dtype : {float32, float64}
        NumPy dtype of the values.

    Examples
    --------
    >>> import torch                                                                # doctest: +SKIP
    >>> lpnum.from_torch(torch.tensor([1.0, -3.0]).to(torch.float8_e4m3fn))         # doctest: +SKIP
    LPArray([ 1., -3.], format=lpnum.float8_e4m3fn, scale=1)
    """
    where = "lpnum.from_torch"
    torch = _torch(where)
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"{where}: expected a torch.Tensor, not {type(t).__name__}")
    t = t.detach().cpu()
    if t.is_quantized:
        return _from_quantized(t, torch, scale, offset, dtype, where)
    name = str(t.dtype).removeprefix("torch.")
    if name == _TORCH_FLOAT4:
        packed = t.view(torch.uint8).numpy()
        shape = (*packed.shape[:-1], 2 * packed.shape[-1])
        return LPArray(unpack4(packed, shape), "float4_e2m1fn", scale, offset, dtype)
    if name not in _TORCH_DTYPES:
        raise TypeError(
            f"{where}: {t.dtype} is not low precision; known are {', '.join(_TORCH_DTYPES)}, {_TORCH_FLOAT4}"
        )
    fmt = _TORCH_DTYPES[name]
    raw = t.view(torch.int16 if fmt.storage.itemsize == 2 else torch.uint8).numpy()
    return LPArray(raw.view(fmt.storage), fmt, scale, offset, dtype)


def _from_quantized(t: Any, torch: Any, scale: Any, offset: Any, dtype: Any, where: str) -> LPArray:
    """A tensor of torch's own quantization: ``scale * (code - zero_point)``."""
    if np.ndim(scale) or np.ndim(offset) or scale != 1 or offset != 0:
        raise ValueError(f"{where}: the tensor is quantized and has its own scale; do not give another")
    if t.dtype not in (torch.qint8, torch.quint8):
        raise TypeError(f"{where}: of the quantized dtypes only qint8 and quint8 are low precision, not {t.dtype}")
    codes = t.int_repr().numpy()
    if t.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scales, points = np.float64(t.q_scale()), np.float64(t.q_zero_point())
    else:
        along = [-1 if k == t.q_per_channel_axis() else 1 for k in range(t.ndim)]
        scales = t.q_per_channel_scales().double().numpy().reshape(along)
        points = t.q_per_channel_zero_points().double().numpy().reshape(along)
    return LPArray(codes, _OF_DTYPE[codes.dtype], scales, 0.0 - scales * points, dtype)
