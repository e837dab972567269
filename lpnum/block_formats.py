"""Block formats as data: elements of a small format that share a scale, MX (OCP) and NVFP4 among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lpnum import formats
from lpnum._core import blocks
from lpnum.formats import FixedFormat, FloatFormat, Format
from lpnum.rounding import one_of

__all__ = ["SCALE_ROUNDINGS", "BlockFormat", "named_blocks"]

_FORMATS = formats.named()


def _float_format(name: str) -> FloatFormat:
    fmt = _FORMATS[name]
    assert isinstance(fmt, FloatFormat)
    return fmt


_POWERS_OF_TWO = _float_format("float8_e8m0fnu")
SCALE_ROUNDINGS = ("floor", "nearest-even", "up", "ceil", "even")
_TIE_DOWN, _TIE_UP, _TIE_EVEN = range(3)  # as in enum lpnum_tie
_MAX_BLOCK = 1 << 20


@dataclass(frozen=True)
class BlockFormat:
    """Blocks of elements with a common scale: ``value = tensor_scale * scale * decode(element code)``.

    Parameters
    ----------
    element : format or its name
        Of 2 to 8 bits; `FixedFormat` with its binary point, or `FloatFormat`.
    block : int
        Number of neighbouring elements along one axis that share a scale.
    scale_format : FloatFormat or its name
        Of at most 8 bits.
    scale_rounding : {"floor", "nearest-even", "up", "ceil", "even"}
        How the scale of a block follows from its largest magnitude; see Notes.
    tensor_scale : bool
        Whether the array has a float32 scale besides (NVFP4).

    Notes
    -----
    With ``absmax`` the largest magnitude of the block, ``max`` the largest element and ``2^emax`` the largest power of
    two among the elements:

    ============== =========================================== =================================================
    scale_rounding scale                                       known as
    ============== =========================================== =================================================
    "floor"        absmax / 2^emax rounded down                OCP MX v1.0, section 6.3; FLOOR of torchao
    "nearest-even" absmax / max rounded to nearest, ties to    a plain conversion, as in ml_dtypes (ties up there)
                   the even code                               and ONNX; NVFP4
    "up"           absmax / max rounded up                     cuBLAS; RCEIL of torchao: no element is clipped
    "ceil"         absmax / 2^emax rounded up                  CEIL of torchao
    "even"         "floor" of absmax rounded to the element's  EVEN of torchao and Quark
                   precision, halves up
    ============== =========================================== =================================================

    "floor", "ceil" and "even" need scales that are powers of two. With a tensor scale, absmax is divided by it first.
    A scale is never 0: the smallest one serves all smaller blocks and blocks of zeros (2^-127 for float8_e8m0fnu, the
    subnormal 2^-9 for float8_e4m3fn).

    Elements beyond the range go to the largest one (``overflow="clamp"``). The range of fixed-point elements is
    symmetric: code -128 of mxint8 is read, but never written. So quantizing what was quantized changes nothing, where
    scales are powers of two ("nearest-even" excepted, which may clip what it rounded).
    An element NaN stays one where the element format has NaN; else the scale becomes NaN, and with it the whole block.

    Examples
    --------
    >>> f = lpnum.mxfp4
    >>> f.element, f.block, f.scale_format, f.bits_per_element
    (lpnum.float4_e2m1fn, 32, lpnum.float8_e8m0fnu, 4.25)
    >>> f.with_scale_rounding("up")
    lpnum.mxfp4.with_scale_rounding('up')
    >>> lpnum.BlockFormat(lpnum.fixed4, 64)
    lpnum.BlockFormat(lpnum.fixed4, 64)

    References
    ----------
    OCP Microscaling Formats (MX) Specification v1.0, 2023.
    """

    element: Format
    block: int = 32
    scale_format: FloatFormat = _POWERS_OF_TWO
    scale_rounding: str = "floor"
    tensor_scale: bool = False

    def __post_init__(self) -> None:
        for name in ("element", "scale_format"):
            fmt: Any = formats.format(getattr(self, name))
            if isinstance(fmt, BlockFormat):
                raise TypeError(f"BlockFormat: {name} must be a format of single numbers, not {fmt!r}")
            object.__setattr__(self, name, fmt)
        element, scale = self.element, self.scale_format
        if element.bits > 8 or (isinstance(element, FloatFormat) and not element.zero):
            raise ValueError(f"BlockFormat: elements have 2 to 8 bits and a zero, and {element!r} does not")
        if not isinstance(scale, FloatFormat) or scale.bits > 8:
            raise ValueError(f"BlockFormat: scales are floats of at most 8 bits, not {scale!r}")
        if isinstance(self.block, bool) or not isinstance(self.block, int | np.integer):
            raise TypeError(f"BlockFormat: block must be an integer, not {self.block!r}")
        if not 1 <= self.block <= _MAX_BLOCK or (self.packed and self.block % 2):
            even = "even and " if self.packed else ""
            raise ValueError(f"BlockFormat: block must be {even}from 1 to {_MAX_BLOCK}, not {self.block}")
        one_of(self.scale_rounding, SCALE_ROUNDINGS, "BlockFormat: scale_rounding")
        powers = scale.mantissa_bits == 0
        if not powers and self.scale_rounding not in ("nearest-even", "up"):
            raise ValueError(
                f"BlockFormat: scale_rounding={self.scale_rounding!r} needs scales that are powers of two, "
                f"and {scale!r} has others; use 'nearest-even' or 'up'"
            )
        if powers and self.tensor_scale:
            raise ValueError("BlockFormat: a tensor scale is for scale formats with a mantissa, as float8_e4m3fn")

    def __reduce__(self) -> Any:
        return BlockFormat, (self.element, self.block, self.scale_format, self.scale_rounding, self.tensor_scale)

    def with_scale_rounding(self, scale_rounding: str) -> BlockFormat:
        """The same format with another rule for the scales; see `BlockFormat`."""
        return replace(self, scale_rounding=scale_rounding)

    @property
    def name(self) -> str:
        """Name in the table of named block formats (with another scale rounding: ``mxfp4_up``), else a description."""
        base = _NAME_OF.get(self)
        if base is not None:
            return base
        base = _NAME_OF.get(self._standard())
        if base is None:
            tensor = "_tensor" if self.tensor_scale else ""
            base = f"block{self.block}_{self.element.name}_{self.scale_format.name}{tensor}"
        return f"{base}_{self.scale_rounding}"

    def _standard(self) -> BlockFormat:
        """This format with the scale rounding that named formats have."""
        return replace(self, scale_rounding="floor" if self.scale_format.mantissa_bits == 0 else "nearest-even")

    def __repr__(self) -> str:
        name, standard = _NAME_OF.get(self), _NAME_OF.get(self._standard())
        if name is not None:
            return f"lpnum.{name}"
        if standard is not None:
            return f"lpnum.{standard}.with_scale_rounding({self.scale_rounding!r})"
        given = {name: getattr(self, name) for name in ("scale_format", "scale_rounding", "tensor_scale")}
        named = [f"{name}={value!r}" for name, value in given.items() if value != getattr(BlockFormat, name)]
        parts = [repr(self.element), str(self.block), *named]
        return f"lpnum.BlockFormat({', '.join(parts)})"

    # ---- sizes -----------------------------------------------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Width of an element code."""
        return self.element.bits

    @property
    def packed(self) -> bool:
        """Whether two element codes share a byte: those of 4 bits do, all others take a byte each."""
        return self.element.bits == 4

    @property
    def block_bytes(self) -> int:
        """Bytes of the element codes of a block."""
        return self.block // 2 if self.packed else self.block

    @property
    def bits_per_element(self) -> float:
        """Bits in memory: of the stored code, and the element's part of the scale.

        >>> lpnum.nvfp4.bits_per_element, lpnum.mxfp6_e2m3.bits_per_element
        (4.5, 8.25)
        """
        return 8 * (self.block_bytes + 1) / self.block

    @property
    def max(self) -> float:
        """Largest value (at tensor scale 1)."""
        return self.element.max * self.scale_format.max

    @property
    def min(self) -> float:
        """Smallest (most negative) value that is written (at tensor scale 1)."""
        return -self.max if self.element.min < 0 else 0.0

    @cached_property
    def smallest_scale(self) -> float:
        """The smallest positive scale."""
        return self.scale_format.smallest_subnormal

    @cached_property
    def element_max_exponent(self) -> int:
        """The `emax` of the scale rules: exponent of the largest element."""
        return math.frexp(self.element.max)[1] - 1

    def blocks_along(self, length: int, axis: int, where: str) -> int:
        """Number of blocks on an axis of this length.

        Raises
        ------
        ValueError
            If the blocks do not divide the axis; says how far to pad it.
        """
        if length % self.block:
            raise ValueError(
                f"{where}: axis {axis} has length {length}, not a multiple of the {self.block} elements of a block of "
                f"{self!r}; pad axis {axis} from {length} to {-(-length // self.block) * self.block}"
            )
        return length // self.block

    # ---- what the kernels need -------------------------------------------------------------------------------------

    def scale_rule(self) -> tuple[int, int, int]:
        """Rule of scales that are powers of two: (shift, threshold, tie).

        For ``absmax = 2^e * (1 + mantissa / 2^52)`` the scale's code is ``e + 1023 + shift``, plus 1 if the mantissa is
        above the threshold (at it: by the tie), clamped to the codes of finite scales.
        """
        top = self.element.max / 2.0**self.element_max_exponent  # 1 <= top < 2
        lower, threshold, tie = 0, 2.0, _TIE_DOWN  # "floor": no mantissa is above 2
        if self.scale_rounding == "ceil":
            threshold = 1.0
        elif self.scale_rounding == "up":
            threshold = top
        elif self.scale_rounding == "even":
            if isinstance(self.element, FloatFormat):
                mantissa_bits = self.element.mantissa_bits
            else:
                mantissa_bits = self.element.code_max.bit_length() - 1
            threshold, tie = 2.0 - 2.0 ** -(mantissa_bits + 1), _TIE_UP
        elif self.scale_rounding == "nearest-even":  # absmax / max = 1.5 * 2^k is the tie
            lower = int(0.75 * top >= 1.0)
            threshold, tie = (0.75 if lower else 1.5) * top, _TIE_EVEN
        first_code = int(self.scale_format.zero) - self.scale_format.min_exponent  # of the scale 1
        return first_code - 1023 - self.element_max_exponent - lower, int((threshold - 1.0) * 2.0**52), tie

    @cached_property
    def stored_values(self) -> np.ndarray:
        """Values of all stored codes at scale 1: of the 16 (packed) or 256 patterns of bits."""
        codes = np.arange(16 if self.packed else 256)
        if isinstance(self.element, FloatFormat):
            values = np.zeros(codes.size)
            values[: self.element.code_values.size] = self.element.code_values
            return values
        half = codes.size // 2 if self.element.signed else codes.size
        return np.where(codes < half, codes, codes - codes.size) * self.element.unit

    @cached_property
    def kernel(self) -> blocks.BlockFormat:
        """The format as the kernels take it."""
        powers = self.scale_format.mantissa_bits == 0
        shift, threshold, tie = self.scale_rule() if powers else (0, 0, 0)
        element, scale = self.element, self.scale_format
        smallest = element.unit if isinstance(element, FixedFormat) else element.smallest_subnormal
        exact = smallest * scale.smallest_subnormal >= 2.0**-149 and element.max * scale.max < 2.0**128
        return blocks.BlockFormat(
            element.kernel,
            scale.kernel,
            block=self.block,
            packed=self.packed,
            unit=element.unit,
            largest=element.max,
            power_of_two=powers,
            shift=shift,
            threshold=threshold,
            tie=tie,
            scale_up=self.scale_rounding == "up",
            single=exact or not self.tensor_scale,
            values=self.stored_values,
        )

    # ---- what only formats of single numbers have -------------------------------------------------------------------

    @property
    def storage(self) -> np.dtype:
        """Not defined: codes of a block format are nothing without their scales."""
        raise TypeError(
            f"{self!r} is a block format, whose codes need their scales: use lpnum.array(values, {self!r}), "
            f"or take its element format {self.element!r}"
        )

    def all_codes(self) -> Any:
        """Not defined; see ``element`` and ``scale_format``."""
        return self.storage


# The named block formats: a new one is a row here, and nothing else.
_NAMED_BLOCKS: dict[str, BlockFormat] = {
    "mxfp8_e4m3": BlockFormat(_FORMATS["float8_e4m3fn"]),
    "mxfp8_e5m2": BlockFormat(_FORMATS["float8_e5m2"]),
    "mxfp6_e2m3": BlockFormat(_FORMATS["float6_e2m3fn"]),
    "mxfp6_e3m2": BlockFormat(_FORMATS["float6_e3m2fn"]),
    "mxfp4": BlockFormat(_FORMATS["float4_e2m1fn"]),
    "mxint8": BlockFormat(FixedFormat(8, frac=6)),
    "nvfp4": BlockFormat(_FORMATS["float4_e2m1fn"], 16, _float_format("float8_e4m3fn"), "nearest-even", True),
}
_NAME_OF = {fmt: name for name, fmt in _NAMED_BLOCKS.items()}


def named_blocks() -> dict[str, BlockFormat]:
    """The table of named block formats.

    >>> sorted(lpnum.formats.named_blocks())
    ['mxfp4', 'mxfp6_e2m3', 'mxfp6_e3m2', 'mxfp8_e4m3', 'mxfp8_e5m2', 'mxint8', 'nvfp4']
    """
    return dict(_NAMED_BLOCKS)
