from typing import Any

from lpnum._core.kernels import Format

def pack4(codes: Any, out: Any, is_signed: bool) -> bool: ...
def unpack4(packed: Any, codes: Any, is_signed: bool) -> None: ...

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
