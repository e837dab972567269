from typing import Any

from numpy import dtype, float64, ndarray

from lpnum_optim.grid_control import GridControl

_NDArray = ndarray[Any, Any]
_Float64 = ndarray[tuple[int], dtype[float64]]

LEVEL_NAMES: tuple[str, str, str]

def simd_level() -> int: ...
def set_simd_level(level: int) -> None: ...
def lowbit_epoch(
    x: _NDArray,
    x_step: float,
    targets: _Float64,
    margins: _Float64,
    anchors: _Float64,
    direction: _Float64,
    z: _NDArray,
    z_step: float,
    *,
    step_size: float,
    l2: float,
    loss: int,
    samples: _NDArray,
    code_min: int,
    code_max: int,
    seed: int,
    stream: int,
    control: GridControl | None = None,
) -> tuple[float, float, float]: ...
def float_epoch(
    x: _NDArray,
    x_step: float,
    targets: _Float64,
    margins: _Float64,
    anchors: _Float64,
    direction: _Float64,
    w: _NDArray,
    *,
    step_size: float,
    l2: float,
    loss: int,
    samples: _NDArray,
) -> None: ...
def row_products(x: _NDArray, x_step: float, w: _Float64) -> _Float64: ...
def weighted_row_sum(x: _NDArray, x_step: float, p: _Float64) -> _Float64: ...
