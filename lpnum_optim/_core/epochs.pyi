from typing import Any

from numpy import dtype, float64, ndarray

from lpnum_optim.grid_control import GridControl

_Array = ndarray[Any, Any]
_Float64 = ndarray[tuple[int], dtype[float64]]

LEVEL_NAMES: tuple[str, str, str]

def simd_level() -> int: ...
def set_simd_level(level: int) -> None: ...
def lowbit_epoch(
    x: _Array,
    x_step: float,
    targets: _Float64,
    margins: _Float64,
    anchors: _Float64,
    direction: _Float64,
    z: _Array,
    z_step: float,
    *,
    step_size: float,
    l2: float,
    loss: int,
    samples: _Array,
    code_min: int,
    code_max: int,
    seed: int,
    stream: int,
    control: GridControl | None = None,
) -> tuple[float, float, float]: ...
def float_epoch(
    x: _Array,
    x_step: float,
    targets: _Float64,
    margins: _Float64,
    anchors: _Float64,
    direction: _Float64,
    w: _Array,
    *,
    step_size: float,
    l2: float,
    loss: int,
    samples: _Array,
) -> None: ...
def row_products(x: _Array, x_step: float, w: _Float64) -> _Float64: ...
def weighted_row_sum(x: _Array, x_step: float, p: _Float64) -> _Float64: ...
