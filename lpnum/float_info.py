"""What `lpnum.finfo` returns: the numbers of a float format under the names of `numpy.finfo`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from lpnum.float_formats import FloatFormat

__all__ = ["FloatInfo"]


@dataclass(frozen=True)
class FloatInfo:
    """Machine parameters of a float format; values are Python floats, exact for every format.

    Attributes
    ----------
    format : FloatFormat
        Whose numbers these are; NumPy has `dtype` here.
    bits : int
        Width of a code.
    eps, epsneg : float
        Distance from 1 to the next larger and to the next smaller value, as far as the exponents reach there.
    iexp, nexp : int
        Bits of the exponent field.
    machep, negep : int
        ``eps = 2**machep``, ``epsneg = 2**negep``.
    max, min : float
        Largest and smallest (most negative) finite value.
    maxexp : int
        Smallest power of 2 that is out of range.
    minexp : int
        Exponent of the smallest normal value.
    nmant : int
        Bits of the mantissa field.
    precision : int
        Decimal digits that are held for certain: ``floor(-log10(eps))``, 0 for most 8-bit formats.
    resolution : float
        ``10**-precision``.
    smallest_normal, tiny : float
        Smallest positive value of full precision.
    smallest_subnormal : float
        Smallest positive value.

    Examples
    --------
    >>> info = lpnum.finfo(lpnum.float16)
    >>> info.max == float(np.finfo(np.float16).max), info.tiny == float(np.finfo(np.float16).tiny)
    (True, True)
    >>> lpnum.finfo(lpnum.float8_e4m3fn).epsneg, lpnum.finfo(lpnum.float8_e4m3fn).maxexp
    (0.0625, 9)
    """

    format: FloatFormat
    bits: int
    eps: float
    epsneg: float
    iexp: int
    machep: int
    max: float
    maxexp: int
    min: float
    minexp: int
    negep: int
    nexp: int
    nmant: int
    precision: int
    resolution: float
    smallest_normal: float
    smallest_subnormal: float
    tiny: float

    @classmethod
    def of(cls, fmt: FloatFormat) -> FloatInfo:
        """The numbers of a format."""
        negep = -fmt.mantissa_bits - (1 if fmt.min_exponent < 0 else 0)  # below 1 the steps are halved, if it is normal
        precision = math.floor(-math.log10(fmt.eps))
        return cls(
            format=fmt,
            bits=fmt.bits,
            eps=fmt.eps,
            epsneg=2.0**negep,
            iexp=fmt.exponent_bits,
            machep=-fmt.mantissa_bits,
            max=fmt.max,
            maxexp=math.frexp(fmt.max)[1],
            min=fmt.min,
            minexp=fmt.min_exponent,
            negep=negep,
            nexp=fmt.exponent_bits,
            nmant=fmt.mantissa_bits,
            precision=precision,
            resolution=10.0**-precision,
            smallest_normal=fmt.smallest_normal,
            smallest_subnormal=fmt.smallest_subnormal,
            tiny=fmt.smallest_normal,
        )

    def __str__(self) -> str:
        lines = [f"Machine parameters for {self.format.name}", "-" * 50]
        lines += [f"{f.name:<20}{getattr(self, f.name)}" for f in fields(self) if f.name != "format"]
        return "\n".join(lines)
