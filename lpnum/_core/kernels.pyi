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
def set_simd_level(name: str) -> None: ...
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
def sum_codes(codes: Any) -> int: ...
def dot_codes(a: Any, b: Any) -> int: ...
def first_nonfinite(values: Any) -> int | None: ...
def pack4(codes: Any, out: Any, is_signed: bool) -> bool: ...
def unpack4(packed: Any, codes: Any, is_signed: bool) -> None: ...
def largest_finite(values: Any) -> float: ...

class BlockFormat:
    def __init__(
        self,
        element: Format,
        scale: Format,
        *,
        block: int,
        packed: bool,
        unit: float,
        largest: float,
        power_of_two: bool,
        shift: int,
        tie: int,
        threshold: int,
        scale_up: bool,
        single: bool,
        values: Any,
    ) -> None: ...

def quantize_blocks(
    fmt: BlockFormat,
    values: Any,
    tensor_scale: float,
    codes: Any,
    scales: Any,
    rounding: int = 0,
    overflow: int = 0,
    random_bits: int = 16,
    seed: int = 0,
    stream: int = 0,
    count: bool = False,
) -> tuple[int, tuple[int, int, int, int, int, int, int]]: ...
def dequantize_blocks(fmt: BlockFormat, codes: Any, scales: Any, tensor_scale: float, out: Any) -> None: ...

TILE: int
MATVEC_LENGTH: int

def matmul_tile(
    a: Any,
    b: Any,
    out: Any,
    workspace: Any,
    step_a: Any = None,
    step_b: Any = None,
    terms: tuple[tuple[Any, Any], ...] = (),
    a_values: Any = None,
    b_values: Any = None,
) -> None: ...
def matmul_workspace(m: int, n: int, k: int, floats: bool) -> int: ...
def matvec(a: Any, v: Any, out: Any, workspace: Any) -> int: ...
def matvec_workspace(m: int, k: int) -> int: ...
def dot_rows(a: Any, b: Any, out: Any) -> None: ...
