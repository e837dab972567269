from typing import Any

from numpy import dtype, float64, ndarray

from lpnum_optim.data import DataMatrix
from lpnum_optim.grid_control import GridControl

_NDArray = ndarray[Any, Any]
_Vector = ndarray[tuple[int], dtype[float64]]

LEVEL_NAMES: tuple[str, str, str]
MAX_BLOCK: int

def simd_level() -> int: ...
def set_simd_level(level: int) -> None: ...
def advise_huge_pages(array: _NDArray) -> bool: ...
def lowbit_epoch(
    x: DataMatrix,
    targets: _Vector,
    margins: _NDArray,
    anchors: _NDArray,
    direction: _NDArray,
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
    weights: _Vector | None = None,
    shrink: _Vector | None = None,
    loss_parameter: float = 0.0,
    batch: int = 1,
    l1: float = 0.0,
    center: _NDArray | None = None,
    intercept: _Vector | None = None,
    intercept_direction: _Vector | None = None,
    intercept_step: float = 0.0,
    centered: bool = False,
) -> tuple[float, float, float]: ...
def float_epoch(
    x: DataMatrix,
    targets: _Vector,
    margins: _NDArray,
    anchors: _NDArray,
    direction: _NDArray,
    w: _NDArray,
    *,
    step_size: float,
    l2: float,
    loss: int,
    samples: _NDArray,
    weights: _Vector | None = None,
    shrink: _Vector | None = None,
    loss_parameter: float = 0.0,
    batch: int = 1,
    l1: float = 0.0,
    center: _NDArray | None = None,
    intercept: _Vector | None = None,
    intercept_direction: _Vector | None = None,
    intercept_step: float = 0.0,
    centered: bool = False,
) -> None: ...
def checked(x: DataMatrix) -> Any: ...
def evaluate_rows(
    x: Any,
    targets: _Vector,
    v: _NDArray,
    intercept: _Vector,
    *,
    loss: int,
    block: int,
    start: int,
    stop: int,
    loss_parameter: float = 0.0,
    weights: _Vector | None = None,
    margins: _NDArray | None = None,
    slopes: _NDArray | None = None,
    known: bool = False,
    rows: _NDArray | None = None,
) -> tuple[float, _Vector]: ...
def row_products(x: _NDArray, x_step: float, w: _Vector) -> _Vector: ...
def weighted_row_sum(x: _NDArray, x_step: float, p: _Vector) -> _Vector: ...
