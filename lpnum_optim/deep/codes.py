"""Torch tensors as codes of an lpnum format, and back: one byte (or two) per element, at the speed of lpnum's kernels.

Codes are torch tensors of uint8, int8 or int16, so that torch's allocator owns and counts them. The kernels read and
write the tensors' memory in place; nothing is copied on the way.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from lpnum import codec, formats
from lpnum._core import kernels
from lpnum.codec import COPY, Operand
from lpnum.formats import FloatFormat, Format
from lpnum.random import CounterRNG
from lpnum.rounding import DEFAULT_RANDOM_BITS, ROUNDING_MODES, counting

__all__ = [
    "Rounded",
    "code_dtype",
    "decode",
    "encode",
    "overflow_share",
    "overflow_threshold",
    "power_of_two_scale",
    "round_",
    "round_into",
]

# float32 and float64 are read as they are, 16-bit floats as codes of their own.
PLAIN = (torch.float32, torch.float64)
SIXTEEN_BITS = {torch.bfloat16: formats.format("bfloat16"), torch.float16: formats.format("float16")}
ONE_PASS_DTYPES = (torch.float32, torch.bfloat16)  # of `kernels.round_floats`
ROUNDING_NUMBERS = {mode: number for number, mode in enumerate(ROUNDING_MODES)}
CODE_DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.int8): torch.int8, np.dtype(np.int16): torch.int16,
               np.dtype(np.uint16): torch.int16}  # fmt: skip


def code_dtype(fmt: Format) -> torch.dtype:
    """The torch dtype that holds codes of a format; unsigned 16-bit codes are kept in int16, which torch computes with.

    >>> code_dtype(formats.format("float8_e4m3fn"))
    torch.uint8
    """
    return CODE_DTYPES[fmt.storage]


@lru_cache(maxsize=1024)
def _grid(fmt: Format, scale: float) -> tuple[float, Any]:
    """Step and kernel format of the values ``scale * decode(code)``.

    A float format times a power of two is the float format with another bias: the kernels' unscaled paths serve it.
    """
    mantissa, exponent = math.frexp(scale)
    if isinstance(fmt, FloatFormat) and mantissa == 0.5 and fmt.zero:
        try:
            shifted = replace(fmt, bias=fmt.bias - (exponent - 1))
        except ValueError:  # beyond the exponents of float64
            pass
        else:
            return shifted.unit, shifted.kernel
    return fmt.unit * scale, fmt.kernel


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """The elements in the order of memory, without a copy; tensors with gaps or repeats cannot be read so."""
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    flat = tensor.detach().permute(order)
    if not flat.is_contiguous():
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} and strides {tensor.stride()} has gaps or shares elements; "
            "pass tensor.contiguous()"
        )
    return flat.reshape(-1)


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill a block of memory, in whatever order of axes."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n != 1):
        if stride != expected:
            return tensor.numel() == 0
        expected *= size
    return True


def _operand(tensor: torch.Tensor, where: str) -> Operand:
    if tensor.dtype in PLAIN:
        return _flat(tensor).numpy()
    if tensor.dtype in SIXTEEN_BITS:
        bits = _flat(tensor).view(torch.int16).numpy().view(np.uint16)
        return codec.unscaled(bits, SIXTEEN_BITS[tensor.dtype])
    raise TypeError(f"{where}: a tensor of {tensor.dtype}; expected float32, float64, bfloat16 or float16 on the CPU")


def _codes_operand(codes: torch.Tensor, fmt: Format, scale: float) -> Operand:
    step, kernel = _grid(fmt, scale)
    return _flat(codes).numpy().view(fmt.storage), step, 0.0, kernel


def encode(
    tensor: torch.Tensor,
    fmt: Format,
    *,
    scale: float = 1.0,
    rounding: str = "nearest-even",
    rng: Any = None,
    nan: float | None = None,
) -> torch.Tensor:
    """Codes of ``tensor / scale``, rounded once; values beyond the range become the largest ones.

    Parameters
    ----------
    tensor : torch.Tensor
        float32, float64, bfloat16 or float16 on the CPU. Of any strides; one with gaps is copied first.
    fmt : lpnum format
    scale : float > 0
        Powers of two cost nothing with a `FloatFormat`.
    rounding : str
        As in `lpnum.encode`; "stochastic" draws from `rng`.
    nan : float, optional
        What to store in place of NaN in formats that have none; without it NaN is an error.

    Returns
    -------
    torch.Tensor
        Of `code_dtype`, with the tensor's shape and strides.

    Raises
    ------
    ValueError
        A NaN that the format cannot hold.

    Examples
    --------
    >>> encode(torch.tensor([1.0, -2.0, 1000.0]), formats.format("float8_e4m3fn"))
    tensor([ 56, 192, 126], dtype=torch.uint8)
    """
    if not is_dense(tensor):
        tensor = tensor.contiguous()
    plan = _plan_of_one_pass(tensor, fmt, scale, nan) if nan is None else None
    if plan is not None:
        made = _rounded_in_one_pass(None, tensor, fmt, plan, rounding, rng, codes=True)
        if made is not None and made.codes is not None:
            return made.codes
    codes = torch.empty_like(tensor, dtype=code_dtype(fmt))
    policy = codec.make_policy(rounding, "clamp", rng)
    source, target = _operand(tensor, "encode"), _codes_operand(codes, fmt, scale)
    try:
        codec.run(COPY, source, None, target, policy, "encode")
    except ValueError:
        if nan is None:
            raise
        # Again with a replacement, which the fast kernels do not know: NaN is rare.
        nan_code = codec.nan_code_of(nan, scale, 0.0, fmt)
        codec.run(COPY, source, None, target, policy, "encode", nan_code=nan_code)
    return codes


def decode(
    codes: torch.Tensor,
    fmt: Format,
    *,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Values ``scale * decode(codes)`` as a tensor of the codes' shape and strides, or in `out`, which must have them.

    >>> decode(torch.tensor([56, 192], dtype=torch.uint8), formats.format("float8_e4m3fn"), scale=0.5)
    tensor([ 0.5000, -1.0000])
    """
    if out is None:
        out = torch.empty_like(codes, dtype=dtype)
    elif out.shape != codes.shape or out.stride() != codes.stride():
        raise ValueError(
            f"decode: out has shape {tuple(out.shape)} and strides {out.stride()}; "
            f"expected {tuple(codes.shape)} and {codes.stride()}"
        )
    if out.dtype in ONE_PASS_DTYPES and is_dense(codes) and _decoded_in_one_pass(codes, fmt, scale, out):
        return out
    policy = codec.make_policy("nearest-even", "clamp", None)
    codec.run(COPY, _codes_operand(codes, fmt, scale), None, _operand(out, "decode"), policy, "decode")
    return out


def _decoded_in_one_pass(codes: torch.Tensor, fmt: Format, scale: float, out: torch.Tensor) -> bool:
    step, kernel = _grid(fmt, scale)
    if not isinstance(fmt, FloatFormat) or step != 1.0:
        return False
    return kernels.decode_floats(codes.data_ptr(), out.data_ptr(), out.dtype is torch.bfloat16, codes.numel(), kernel)


class Rounded(NamedTuple):
    """What `round_into` saw: the codes, if asked for, and how many elements could not be kept.

    Attributes
    ----------
    codes : torch.Tensor or None
    beyond : int
        Elements beyond the range or NaN, as `overflow_share` counts them.
    nan : int
        Elements that were NaN.
    """

    codes: torch.Tensor | None
    beyond: int
    nan: int


@lru_cache(maxsize=1024)
def _one_pass(fmt: Format, scale: float, nan: float | None) -> tuple[Any, float, int] | None:
    """Kernel format, overflow threshold in float32 and code for NaN, where the kernels have one pass for it all."""
    step, kernel = _grid(fmt, scale)
    if not isinstance(fmt, FloatFormat) or step != 1.0:
        return None
    threshold = scale * overflow_threshold(fmt)
    single = np.float32(threshold) if threshold < float(np.finfo(np.float32).max) else np.float32(np.inf)
    if float(single) < threshold:
        single = np.nextafter(single, np.float32(np.inf))
    nan_code = codec.nan_code_of(nan, scale, 0.0, fmt) if nan is not None else fmt.nan_code
    return None if nan_code is None else (kernel, float(single), nan_code)


def round_into(
    out: torch.Tensor | None,
    tensor: torch.Tensor,
    fmt: Format,
    *,
    scale: float = 1.0,
    rounding: str = "nearest-even",
    rng: Any = None,
    nan: float | None = None,
    codes: bool = True,
) -> Rounded:
    """Round a tensor onto the grid of a format, into `out`, in one pass where the kernels have one.

    Parameters
    ----------
    out : torch.Tensor or None
        Of the same dtype, shape and strides; may be the tensor itself. None: only codes are made.
    tensor : torch.Tensor
        Dense: its elements fill a block of memory, in whatever order of axes.
    fmt, scale, rounding, rng, nan
        As for `encode`.
    codes : bool
        Whether the codes are wanted.

    Raises
    ------
    ValueError
        The tensor is not dense, or has a NaN that neither the format nor `nan` provides for.

    Examples
    --------
    >>> x = torch.tensor([0.3, -5.1, 70000.0])
    >>> round_into(x, x, formats.format("float8_e5m2"), codes=False)
    Rounded(codes=None, beyond=1, nan=0)
    >>> x.tolist()
    [0.3125, -5.0, 57344.0]
    """
    if not is_dense(tensor):
        raise ValueError("the tensor to be rounded has gaps or shares elements; pass tensor.contiguous()")
    plan = _plan_of_one_pass(tensor, fmt, scale, nan)
    if plan is not None:
        rounded = _rounded_in_one_pass(out, tensor, fmt, plan, rounding, rng, codes)
        if rounded is not None:
            return rounded
    beyond = round(overflow_share(tensor, fmt, scale) * tensor.numel())
    nans = int(torch.isnan(tensor.detach()).sum()) if beyond else 0
    made = encode(tensor, fmt, scale=scale, rounding=rounding, rng=rng, nan=nan)
    if out is not None:
        decode(made, fmt, scale=scale, out=out.detach())
    return Rounded(made if codes else None, beyond, nans)


def _plan_of_one_pass(
    tensor: torch.Tensor, fmt: Format, scale: float, nan: float | None
) -> tuple[Any, float, int] | None:
    """What `_one_pass` says, for a tensor that it can take."""
    if tensor.dtype not in ONE_PASS_DTYPES or not tensor.is_cpu or counting() is not None:
        return None
    return _one_pass(fmt, scale, nan)


def _rounded_in_one_pass(
    out: torch.Tensor | None, tensor: torch.Tensor, fmt: Format, plan: tuple[Any, float, int], rounding: str, rng: Any,
    codes: bool,
) -> Rounded | None:  # fmt: skip
    """None, with nothing done, at SIMD levels without such a kernel."""
    kernel, threshold, nan_code = plan
    mode, seed, stream = ROUNDING_NUMBERS[rounding], 0, 0
    if rounding == "stochastic":
        if not kernels.simd_level():
            return None  # before a stream is taken
        policy = codec.make_policy(rounding, "clamp", rng)
        source = policy.rng if policy.rng is not None else CounterRNG()
        seed, stream = source.seed, source.next_stream()
    made = torch.empty_like(tensor, dtype=code_dtype(fmt), requires_grad=False) if codes else None
    counts = kernels.round_floats(
        tensor.data_ptr(), 0 if out is None else out.data_ptr(), 0 if made is None else made.data_ptr(),
        tensor.dtype is torch.bfloat16, tensor.numel(), kernel, threshold, mode, DEFAULT_RANDOM_BITS, seed, stream,
        nan_code,
    )  # fmt: skip
    return None if counts is None else Rounded(made, *counts)


def round_(
    tensor: torch.Tensor, fmt: Format, *, scale: float = 1.0, rounding: str = "nearest-even", rng: Any = None,
    nan: float | None = None,
) -> torch.Tensor:  # fmt: skip
    """Round a tensor in place onto the grid of a format and return its codes.

    >>> x = torch.tensor([0.3, -5.1])
    >>> _ = round_(x, formats.format("float8_e5m2"))
    >>> x
    tensor([ 0.3125, -5.0000])
    """
    codes = round_into(tensor, tensor, fmt, scale=scale, rounding=rounding, rng=rng, nan=nan).codes
    assert codes is not None
    return codes


@lru_cache(maxsize=1024)
def overflow_threshold(fmt: Format) -> float:
    """The smallest magnitude that rounds (to nearest, ties away) beyond the largest value, were the range unlimited.

    >>> overflow_threshold(formats.format("float8_e4m3fn"))
    464.0
    """
    if isinstance(fmt, FloatFormat):
        return fmt.max + 0.5 * 2.0 ** (fmt.max_exponent - fmt.mantissa_bits)
    return fmt.max + 0.5 * fmt.unit


def overflow_share(tensor: torch.Tensor, fmt: Format, scale: float = 1.0) -> float:
    """Fraction of the elements with a magnitude of at least ``scale * overflow_threshold(fmt)``; NaN counts.

    >>> overflow_share(torch.tensor([1.0, 463.0, 464.0, -1e9]), formats.format("float8_e4m3fn"))
    0.5
    """
    if tensor.numel() == 0:
        return 0.0
    threshold = scale * overflow_threshold(fmt)
    low, high = torch.aminmax(tensor.detach())
    if -threshold < low and high < threshold:  # one pass, the usual case; false for NaN
        return 0.0
    return 1.0 - float(torch.count_nonzero(tensor.detach().abs() < threshold)) / tensor.numel()


def power_of_two_scale(tensor: torch.Tensor, fmt: Format) -> float:
    """The smallest power of two with which no element leaves the range of the format; 1 for a tensor of zeros.

    Infinity or NaN where the tensor holds one.

    >>> power_of_two_scale(torch.tensor([0.001, -1000.0]), formats.format("float8_e4m3fn"))
    4.0
    """
    if tensor.numel() == 0:
        return 1.0
    if tensor.dtype in ONE_PASS_DTYPES and tensor.is_cpu and is_dense(tensor):
        largest = kernels.largest_magnitude(tensor.data_ptr(), tensor.dtype is torch.bfloat16, tensor.numel())
    else:
        low, high = torch.aminmax(tensor.detach())
        largest = max(-float(low), float(high))
    if not 0.0 < largest < math.inf:
        return 1.0 if largest == 0.0 else largest
    return 2.0 ** math.ceil(math.log2(largest / fmt.max))
