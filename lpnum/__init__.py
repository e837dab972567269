"""Low-precision arrays for NumPy: 8-bit (4 to 16) fixed point with scale and offset, at memory speed.

>>> import lpnum
>>> x = lpnum.array([0.5, -1.27, 1.0], dtype=lpnum.fixed8)
>>> x.codes
array([  50, -127,  100], dtype=int8)
"""

from lpnum import formats, random, scaling
from lpnum.array import LPArray
from lpnum.codec import decode, encode, round_to
from lpnum.config import __version__, show_config
from lpnum.creation import (
    arange,
    array,
    asarray,
    dequantize,
    empty,
    empty_like,
    from_codes,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    quantize,
    zeros,
    zeros_like,
)
from lpnum.formats import FixedFormat, fixed, fixed4, fixed8, fixed16, format, ufixed4, ufixed8, ufixed16
from lpnum.linalg import dot
from lpnum.rounding import context, count_events

__all__ = [
    "FixedFormat",
    "LPArray",
    "__version__",
    "arange",
    "array",
    "asarray",
    "context",
    "count_events",
    "decode",
    "dequantize",
    "dot",
    "empty",
    "empty_like",
    "encode",
    "fixed",
    "fixed4",
    "fixed8",
    "fixed16",
    "format",
    "formats",
    "from_codes",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "quantize",
    "random",
    "round_to",
    "scaling",
    "show_config",
    "ufixed4",
    "ufixed8",
    "ufixed16",
    "zeros",
    "zeros_like",
]
