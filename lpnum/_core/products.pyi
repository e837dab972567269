from typing import Any

TILE: int
MATVEC_LENGTH: int

def sum_codes(codes: Any) -> int: ...
def dot_codes(a: Any, b: Any) -> int: ...
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
    block: int = 0,
    a_scales: Any = None,
    b_scales: Any = None,
) -> None: ...
def matmul_workspace(m: int, n: int, k: int, floats: bool, block: int = 0) -> int: ...
def matvec(a: Any, v: Any, out: Any, workspace: Any) -> int: ...
def matvec_workspace(m: int, k: int) -> int: ...
def dot_rows(a: Any, b: Any, out: Any) -> None: ...
