"""The one gateway to the elementwise kernels: validation, policies, errors; and the format-level functions.

``encode`` and ``decode`` translate between values and codes of a format at scale 1; arrays with scale and offset go
through `run` as well.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from lpnum import _threads, formats, rounding
from lpnum._core import kernels
from lpnum.formats import FloatFormat, Format
from lpnum.random import CounterRNG, as_rng
from lpnum.rounding import Policy

__all__ = ["decode", "encode", "round_to"]

# (codes, step, offset, format); step and offset are floats or float64 arrays that broadcast to the codes
CodeOperand: TypeAlias = "tuple[np.ndarray, Any, Any, kernels.Format]"
Operand: TypeAlias = "np.ndarray | CodeOperand"

# numbers of the kernels' table of operations (enum lpnum_op)
COPY, ADD, SUBTRACT, MULTIPLY, DIVIDE = range(5)
ARITHMETIC: dict[Any, int] = {np.add: ADD, np.subtract: SUBTRACT, np.multiply: MULTIPLY, np.divide: DIVIDE}

OVERFLOW_NUMBER = {policy: number for number, policy in enumerate(rounding.OVERFLOW_POLICIES)}
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_GOT_INVALID, _GOT_OVERFLOW = 1, 2


def as_float_array(values: Any, where: str, *, to_odd: bool = False) -> np.ndarray:
    """`values` as a native float32 or float64 array; integers and bools become float64, float16 becomes float32.

    With `to_odd`, 64-bit integers and wider floats that float64 does not hold are prepared for one more rounding.
    """
    array = np.asarray(values)
    if (array.dtype is _FLOAT64 or array.dtype is _FLOAT32) and array.flags.aligned:
        return array
    kind = array.dtype.kind
    if array.dtype == np.float16 and array.dtype.isnative:
        bits = np.require(array, requirements="A").view(np.uint16)
        return decode_operand(unscaled(bits, formats.format("float16")), np.float32)
    if kind == "f":
        wanted = np.float32 if array.dtype.itemsize <= 4 else np.float64
    elif kind in "biu":
        wanted = np.float64
    else:
        raise TypeError(f"{where}: expected real numbers, not an array of dtype {array.dtype}")
    if to_odd and array.dtype.itemsize > (8 if kind == "f" else 4):
        return _rounded_to_odd(array)
    return array.astype(wanted)


def _rounded_to_odd(array: np.ndarray) -> np.ndarray:
    """64-bit integers or long doubles as float64: of the two neighbours of an inexact one, that with the last bit set.

    Rounding that to a format gives what rounding the exact value gives (Boldo and Melquiond, IEEE Trans. Comput. 57,
    2008): a value beside a midpoint does not become the midpoint.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near = np.array(array, np.float64)
        if array.dtype.kind == "f":
            rest = np.where(np.isfinite(array), array - near, 0)
        elif np.abs(near).max(initial=0.0) <= 2.0**53:
            return near
        else:  # two exact parts, and the error of their sum
            high, low = (array >> 32).astype(np.float64) * 2.0**32, (array & 0xFFFFFFFF).astype(np.float64)
            near = high + low
            rest = (high - near) + low
    even = near.view(np.int64) % 2 == 0
    neighbour = np.nextafter(near, np.where(rest > 0, np.inf, -np.inf))
    return np.where((rest != 0) & even, neighbour, near)


def _check_random_bits(random_bits: int) -> int:
    if isinstance(random_bits, bool) or not isinstance(random_bits, int | np.integer) or not 1 <= random_bits <= 32:
        raise ValueError(f"random_bits must be an integer from 1 to 32, not {random_bits!r}")
    return int(random_bits)


def run(
    op: int,
    a: Operand,
    b: Operand | None,
    out: Operand,
    policy: Policy,
    where: str,
    *,
    random_bits: int | None = None,
    nan_code: int | None = None,
    keep_on_error: bool = False,
    part_of: tuple[tuple[int, ...], int] | None = None,
) -> None:
    """``out = op(a, b)`` with one rounding; raises what the policy asks for, and counts events.

    With `keep_on_error`, an operation that could fail is tried without storing first, so that `out` stays untouched.
    Where `out` is a contiguous part of a larger array, `part_of` is the shape of the whole and the C-order index of the
    part's first element: random bits, and the indices in errors, are then those of the whole.
    """
    bits = rounding.DEFAULT_RANDOM_BITS if random_bits is None else _check_random_bits(random_bits)
    seed = stream = 0
    if policy.rounding == "stochastic":
        rng = CounterRNG() if policy.rng is None else policy.rng
        seed, stream = rng.seed, rng.next_stream()
    mode, overflow = policy.numbers
    counter = rounding.counting()
    arguments = op, a, b, out, mode, overflow, bits, seed, stream, nan_code
    first = 0 if part_of is None else part_of[1]
    if keep_on_error and _may_fail(op, a, b, overflow):
        status, events = _threads.elementwise(*arguments, False, True, first)
        if status:
            _raise(status, events, out, where, part_of)
    status, events = _threads.elementwise(*arguments, counter is not None, False, first)
    if counter is not None:
        counter.add(*events[:5])
    if status:
        _raise(status, events, out, where, part_of)


def _may_fail(op: int, a: Operand, b: Operand | None, overflow: int) -> bool:
    """Whether a result can be NaN or an error of overflow; finite inputs of a sum, difference or product cannot."""
    if overflow == OVERFLOW_NUMBER["error"] or op == DIVIDE:
        return True
    floats = [x for x in (a, b) if isinstance(x, np.ndarray)]
    return any(not x.flags.c_contiguous or kernels.first_nonfinite(x) is not None for x in floats)


def _raise(
    status: int, events: tuple[int, ...], out: Operand, where: str, part_of: tuple[tuple[int, ...], int] | None
) -> None:
    total, overflow, _, _, invalid, first_overflow, first_invalid = events
    shape = part_of[0] if part_of else (out[0] if isinstance(out, tuple) else out).shape
    if status & _GOT_INVALID and isinstance(out, tuple) and out[3].unsigned_float:
        raise ValueError(
            f"{where}: {invalid} of {total} values are negative or not numbers (first at index "
            f"{_index(first_invalid, shape)}), which the unsigned format cannot hold; take a signed format"
        )
    if status & _GOT_INVALID:
        raise ValueError(
            f"{where}: {invalid} of {total} values are not numbers (first at index {_index(first_invalid, shape)}), "
            f"and the format has no NaN; clean the data or pass nan=<value> to replace them"
        )
    raise OverflowError(
        f"{where}: {overflow} of {total} values are beyond the range of the format "
        f"(first at index {_index(first_overflow, shape)}); use a larger scale or overflow='clamp'"
    )


def _index(flat: int, shape: tuple[int, ...]) -> Any:
    if len(shape) <= 1:
        return flat
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def unscaled(codes: np.ndarray, fmt: Format) -> CodeOperand:
    """Codes of a format at scale 1 as an operand."""
    return codes, fmt.unit, 0.0, fmt.kernel


def check_overflow(policy: Policy, fmt: Format, where: str) -> None:
    """Overflow policies that only one family of formats has."""
    is_float = isinstance(fmt, FloatFormat)
    if policy.overflow == ("wrap" if is_float else "ieee"):
        kind, other = ("floats", "fixed point") if is_float else ("fixed point", "floats")
        raise ValueError(
            f"{where}: overflow={policy.overflow!r} is for {other}, and {fmt!r} is one of the {kind}; use 'clamp'"
        )


def make_policy(rounding_mode: str | None, overflow: str | None, rng: Any) -> Policy:
    """The policy of a function's arguments, completed from the context."""
    if rounding_mode is overflow is rng is None:
        return rounding.current()
    given = Policy(rounding_mode, overflow, None, None if rng is None else as_rng(rng))
    return given.over(rounding.current())


def nan_code_of(nan: float | None, scale: float, offset: float, fmt: Format) -> int | None:
    """Code that stands for the value `nan` (the replacement of NaN), nearest-even and clamped."""
    if nan is None:
        return None
    if isinstance(nan, bool) or not isinstance(nan, int | float | np.integer | np.floating) or not np.isfinite(nan):
        raise ValueError(f"nan: the replacement of NaN must be a finite number, not {nan!r}")
    code = np.empty(1, fmt.storage)
    kernels.elementwise(COPY, np.array([float(nan)]), None, (code, float(scale) * fmt.unit, float(offset), fmt.kernel))
    return int(code[0])


def encode(
    values: Any,
    fmt: Format | str,
    *,
    rounding: str | None = None,
    overflow: str | None = None,
    rng: Any = None,
    random_bits: int | None = None,
    nan: float | None = None,
) -> np.ndarray:
    """Codes of the values in a format at scale 1: ``round(value / 2**-frac)``, rounded once.

    Parameters
    ----------
    values : array_like of real numbers
        Any shape and strides; float64 is never rounded through float32.
    fmt : format or its name
    rounding, overflow : str, optional
        See `lpnum.rounding`; defaults from `lpnum.context`, else "nearest-even" and "clamp".
    rng : int, CounterRNG or numpy.random.Generator, optional
        Source of the random bits of stochastic rounding.
    random_bits : int, optional
        1 to 32 (default 16): a value rounds up with its discarded fraction, rounded to that many bits, as probability.
    nan : float, optional
        Value to store in place of NaN.

    Returns
    -------
    ndarray of the values' shape, in the format's storage dtype

    Raises
    ------
    ValueError
        If a value is NaN and `nan` is not given.
    OverflowError
        If ``overflow="error"`` and a value is out of range.

    Examples
    --------
    >>> lpnum.encode([0.4, 0.5, 1.5, 300.0], lpnum.fixed8)
    array([  0,   0,   2, 127], dtype=int8)
    >>> lpnum.encode([0.4, 0.5, 1.5, 300.0], lpnum.fixed(8, frac=4), rounding="towards-zero")
    array([  6,   8,  24, 127], dtype=int8)
    """
    fmt = formats.format(fmt)
    array = as_float_array(values, "lpnum.encode", to_odd=True)
    codes = np.empty(array.shape, fmt.storage)
    policy = make_policy(rounding, overflow, rng)
    if policy.overflow != "clamp":
        check_overflow(policy, fmt, "lpnum.encode")
    nan_code = None if nan is None else nan_code_of(nan, 1.0, 0.0, fmt)
    target = codes, fmt.unit, 0.0, fmt.kernel
    run(COPY, array, None, target, policy, "lpnum.encode", random_bits=random_bits, nan_code=nan_code)
    return codes


def decode(codes: Any, fmt: Format | str, dtype: Any = np.float32) -> np.ndarray:
    """Values of codes of a format at scale 1.

    Parameters
    ----------
    codes : array_like of integers
        Within the format's range of codes.
    fmt : format or its name
    dtype : float dtype
        Of the result.

    Raises
    ------
    ValueError
        If a code is not one of the format's.

    Examples
    --------
    >>> lpnum.decode([-128, 0, 127], lpnum.fixed(8, frac=4))
    array([-8.    ,  0.    ,  7.9375], dtype=float32)
    """
    fmt = formats.format(fmt)
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"lpnum.decode: dtype must be a float dtype such as numpy.float32, not {np.dtype(dtype)}")
    stored = as_codes(codes, fmt, "lpnum.decode")
    return decode_operand(unscaled(stored, fmt), dtype)


def decode_operand(operand: CodeOperand, dtype: Any) -> np.ndarray:
    """Values of a code operand in any float dtype."""
    dtype = np.dtype(dtype)
    direct = dtype.kind == "f" and dtype.itemsize in (4, 8) and dtype.isnative
    out = np.empty(operand[0].shape, dtype if direct else np.float64)
    _threads.elementwise(COPY, operand, None, out)
    return out if direct else out.astype(dtype)


def as_codes(codes: Any, fmt: Format, where: str) -> np.ndarray:
    """`codes` as an array of the format's storage dtype, without a copy where it is one; out of range is an error."""
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{where}: codes must be integers, not {array.dtype}")
    full = np.iinfo(fmt.storage)
    whole = array.dtype == fmt.storage and (full.min, full.max) == (fmt.code_min, fmt.code_max)
    if array.size and not whole:
        low, high = int(array.min()), int(array.max())
        if low < fmt.code_min or high > fmt.code_max:
            raise ValueError(
                f"{where}: codes from {low} to {high}, but {fmt!r} has codes from {fmt.code_min} to {fmt.code_max}"
            )
    return array.astype(fmt.storage, copy=not array.flags.aligned)


def round_to(
    values: Any,
    fmt: Format | str,
    *,
    rounding: str | None = None,
    overflow: str | None = None,
    rng: Any = None,
    random_bits: int | None = None,
    nan: float | None = None,
) -> np.ndarray:
    """Nearest values of the format: ``decode(encode(values, fmt))`` in the dtype of the values.

    Parameters and errors as for `encode`.

    Examples
    --------
    >>> lpnum.round_to([0.3, -0.3, 100.0], lpnum.fixed(8, frac=4))
    array([ 0.3125, -0.3125,  7.9375])
    """
    array = as_float_array(values, "lpnum.round_to", to_odd=True)
    codes = encode(array, fmt, rounding=rounding, overflow=overflow, rng=rng, random_bits=random_bits, nan=nan)
    return decode_operand(unscaled(codes, formats.format(fmt)), np.result_type(np.asarray(values).dtype, np.float16))
