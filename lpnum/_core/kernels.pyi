from typing import Any

SIMD_LEVELS: tuple[str, ...]

class Format:
    def __init__(
        self,
        *,
        code_min: int,
        code_max: int,
        is_float: bool = False,
        mantissa_bits: int = 0,
        min_exponent: int = 0,
        magnitude_mask: int = 0,
        sign_mask: int = 0,
        finite_max: int = 0,
        inf_code: int = -1,
        nan_code: int = -1,
        negative_zero: bool = False,
        zero: bool = True,
    ) -> None: ...
    @property
    def unsigned_float(self) -> bool: ...

def simd_levels() -> tuple[str, ...]: ...
def simd_level() -> int: ...
def avx_vnni() -> bool: ...
def set_simd_level(name: str, avx_vnni: bool = True) -> None: ...
def elementwise(
    op: int,
    a: Any,
    b: Any,
    out: Any,
    rounding: int = 0,
    overflow: int = 0,
    random_bits: int = 16,
    seed: int = 0,
    stream: int = 0,
    nan_code: int | None = None,
    count: bool = False,
    dry_run: bool = False,
    first_index: int = 0,
) -> tuple[int, tuple[int, int, int, int, int, int, int]]: ...
def random_words(seed: int, stream: int, first: int, out: Any) -> None: ...
def map8(codes: Any, table: Any, out: Any) -> None: ...
def map8_pairs(a: Any, b: Any, table: Any, out: Any) -> None: ...
def float_pairs(
    op: int,
    a: Any,
    b: Any,
    table: Any,
    out: Any,
    format_a: Format,
    format_b: Format,
    format_out: Format,
    overflow: int,
) -> bool: ...
def add_saturating(a: Any, b: Any, out: Any, sign: int) -> None: ...
def first_nonfinite(values: Any) -> int | None: ...
def largest_finite(values: Any) -> float: ...
def round_floats(
    source: int,
    values: int,
    codes: int,
    is_bfloat16: bool,
    n: int,
    format: Format,
    threshold: float,
    rounding: int = 0,
    random_bits: int = 16,
    seed: int = 0,
    stream: int = 0,
    nan_code: int = 0,
) -> tuple[int, int] | None: ...
def decode_floats(codes: int, values: int, is_bfloat16: bool, n: int, format: Format) -> bool: ...
def largest_magnitude(values: int, is_bfloat16: bool, n: int) -> float: ...
