"""Low-precision arrays for NumPy: 8-bit (4 to 16) fixed point with scale and offset, at memory speed.

>>> import lpnum
>>> x = lpnum.array([0.5, -1.27, 1.0], dtype=lpnum.fixed8)
>>> x.codes
array([  50, -127,  100], dtype=int8)
"""

from lpnum import formats, plotting, random, scaling
from lpnum._threads import get_num_threads, set_num_threads
from lpnum.array import LPArray
from lpnum.block_array import BlockArray
from lpnum.block_formats import BlockFormat
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
from lpnum.formats import FixedFormat, FloatFormat, finfo, fixed, format, minifloat, p3109
from lpnum.interop import from_ml_dtypes, from_torch, to_ml_dtypes, to_torch
from lpnum.io import load, load_safetensors, save, save_safetensors
from lpnum.linalg import dot
from lpnum.packing import pack, unpack
from lpnum.rounding import context, count_events
from lpnum.scaled_integers import (
    from_cf,
    from_zarr_scale_offset,
    from_zero_point,
    to_cf,
    to_zarr_scale_offset,
    to_zero_point,
)

# The named formats, as in ml_dtypes where it has them.
fixed4, fixed8, fixed16 = map(format, ("fixed4", "fixed8", "fixed16"))
ufixed4, ufixed8, ufixed16 = map(format, ("ufixed4", "ufixed8", "ufixed16"))
float8_e3m4, float8_e4m3, float8_e5m2 = map(format, ("float8_e3m4", "float8_e4m3", "float8_e5m2"))
float8_e4m3fn, float8_e8m0fnu = map(format, ("float8_e4m3fn", "float8_e8m0fnu"))
float8_e4m3b11fnuz, float8_e4m3fnuz = map(format, ("float8_e4m3b11fnuz", "float8_e4m3fnuz"))
float8_e5m2fnuz, float4_e2m1fn = map(format, ("float8_e5m2fnuz", "float4_e2m1fn"))
float6_e2m3fn, float6_e3m2fn = map(format, ("float6_e2m3fn", "float6_e3m2fn"))
bfloat16, float16 = map(format, ("bfloat16", "float16"))
# Block formats: elements that share a scale.
mxfp8_e4m3, mxfp8_e5m2, mxfp6_e2m3, mxfp6_e3m2, mxfp4, mxint8, nvfp4 = (
    formats.named_blocks()[name]
    for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8", "nvfp4")
)

__all__ = [
    "BlockArray",
    "BlockFormat",
    "FixedFormat",
    "FloatFormat",
    "LPArray",
    "__version__",
    "arange",
    "array",
    "asarray",
    "bfloat16",
    "context",
    "count_events",
    "decode",
    "dequantize",
    "dot",
    "empty",
    "empty_like",
    "encode",
    "finfo",
    "fixed",
    "fixed4",
    "fixed8",
    "fixed16",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float16",
    "format",
    "formats",
    "from_cf",
    "from_codes",
    "from_ml_dtypes",
    "from_torch",
    "from_zarr_scale_offset",
    "from_zero_point",
    "full",
    "full_like",
    "get_num_threads",
    "linspace",
    "load",
    "load_safetensors",
    "minifloat",
    "mxfp4",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxint8",
    "nvfp4",
    "ones",
    "ones_like",
    "p3109",
    "pack",
    "plotting",
    "quantize",
    "random",
    "round_to",
    "save",
    "save_safetensors",
    "scaling",
    "set_num_threads",
    "show_config",
    "to_cf",
    "to_ml_dtypes",
    "to_torch",
    "to_zarr_scale_offset",
    "to_zero_point",
    "ufixed4",
    "ufixed8",
    "ufixed16",
    "unpack",
    "zeros",
    "zeros_like",
]
