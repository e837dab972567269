from typing import Any

BLOCK: int
MANTISSA_BITS: int
BIAS: int

def step(
    parameter: Any,
    gradient: Any,
    first: Any,
    first_scales: Any,
    second: Any,
    second_scales: Any,
    *,
    sign: float = 1.0,
    l2: float = 0.0,
    keep: float = 1.0,
    beta1: float,
    beta2: float,
    step_size: float,
    correction: float,
    epsilon: float,
    seed: int,
    stream: int,
    block: int = 0,
) -> None: ...
def largest_magnitude(values: Any) -> float: ...
