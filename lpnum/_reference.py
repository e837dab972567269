"""The specification in code: slow, obvious NumPy for what the kernels do fast. Tests compare bit for bit.

Nothing here is called by the library itself. Values are float64 throughout; ``code = round((value - offset) / step)``
and ``value = offset + step * code`` with one rounding to an integer, where ``step = scale * 2**-frac``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ROUNDS = 7
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_MASK = (1 << 64) - 1


def _sbox() -> list[int]:
    """The AES substitution: inverse in GF(2^8), then an affine map (FIPS 197, section 5.1.1)."""

    def multiply(a: int, b: int) -> int:
        product = 0
        while b:
            if b & 1:
                product ^= a
            a = (a << 1) ^ (0x11B if a & 0x80 else 0)
            b >>= 1
        return product

    box = []
    for x in range(256):
        inverse = next((y for y in range(256) if multiply(x, y) == 1), 0)
        box.append(inverse ^ 0x63)
        for k in range(1, 5):
            box[-1] ^= ((inverse << k) | (inverse >> (8 - k))) & 0xFF
    return box


SBOX = np.array(_sbox(), dtype=np.uint8)
# state byte r + 4c is row r, column c; ShiftRows moves row r left by r
_SHIFT_ROWS = np.array([(r + 4 * ((c + r) % 4)) for c in range(4) for r in range(4)])


def aes_round(state: np.ndarray, key: np.ndarray, last: bool = False) -> np.ndarray:
    """One AES round on states of shape (n, 16): SubBytes, ShiftRows, MixColumns (not in the last), add the key."""
    state = SBOX[state][:, _SHIFT_ROWS]
    if not last:
        a = state.reshape(-1, 4, 4)
        twice = ((a << 1) ^ np.where(a & 0x80, 0x1B, 0)).astype(np.uint8)
        right = [np.roll(a, -k, axis=2) for k in range(4)]
        state = (twice ^ np.roll(twice, -1, axis=2) ^ right[1] ^ right[2] ^ right[3]).reshape(-1, 16)
    return state ^ key


def ars_blocks(seed: int, stream: int, first: int, n: int, rounds: int = ROUNDS) -> np.ndarray:
    """Blocks first .. first + n - 1 of the counter generator ARS (Salmon et al., SC11, section 4.1), shape (n, 16)."""
    counters = b"".join(((first + i) & _MASK).to_bytes(16, "little") for i in range(n))
    key = [seed & _MASK, stream & _MASK]

    def key_bytes() -> np.ndarray:
        return np.frombuffer(key[0].to_bytes(8, "little") + key[1].to_bytes(8, "little"), np.uint8)

    state = np.frombuffer(counters, np.uint8).reshape(n, 16) ^ key_bytes()
    for r in range(1, rounds + 1):
        key = [(k + w) & _MASK for k, w in zip(key, WEYL, strict=True)]
        state = aes_round(state, key_bytes(), last=r == rounds)
    return np.ascontiguousarray(state)


def random_words(seed: int, stream: int, first: int, n: int, bits: int = 16) -> np.ndarray:
    """Words first .. first + n - 1 of the stream: consecutive little-endian pieces of the blocks."""
    per_block = 128 // bits
    start, stop = first // per_block, (first + n + per_block - 1) // per_block
    words = ars_blocks(seed, stream, start, max(stop - start, 0)).reshape(-1).view(f"<u{bits // 8}")
    return words[first - start * per_block :][:n]


def round_to_integer(y: np.ndarray, rounding: str, threshold: Any = None) -> np.ndarray:
    """Round to integers; for "stochastic", up where the fraction reaches the threshold."""
    with np.errstate(invalid="ignore"):  # infinities stay
        if rounding == "nearest-even":
            return np.rint(y)
        if rounding == "nearest-away":
            away = np.trunc(y)
            return np.where(np.abs(y - away) >= 0.5, away + np.sign(y), away)
        if rounding == "towards-zero":
            return np.trunc(y)
        if rounding == "towards-positive":
            return np.ceil(y)
        if rounding == "towards-negative":
            return np.floor(y)
        floor = np.floor(y)
        return floor + (y - floor >= threshold)


def encode(
    values: Any,
    code_min: int,
    code_max: int,
    step: Any = 1.0,
    offset: Any = 0.0,
    rounding: str = "nearest-even",
    overflow: str = "clamp",
    seed: int = 0,
    stream: int = 0,
    random_bits: int = 16,
) -> np.ndarray:
    """Codes (int64) of float values without NaN, by the definition."""
    values = np.asarray(values, dtype=np.float64)
    step = np.broadcast_to(np.asarray(step, np.float64), values.shape)
    with np.errstate(over="ignore"):  # beyond float64 is beyond the range
        y = (values - offset) / step
    if rounding == "stochastic":
        width = 16 if random_bits <= 16 else 32
        words = random_words(seed, stream, 0, values.size, width).reshape(values.shape)
        threshold = 1 - ((words >> (width - random_bits)).astype(np.float64) + 0.5) / 2.0**random_bits
        q = round_to_integer(y, rounding, threshold)
    elif rounding in ("towards-positive", "towards-negative"):
        q = np.where(step > 0, round_to_integer(y, rounding), -round_to_integer(-y, rounding))
    else:
        q = round_to_integer(y, rounding)
    if overflow == "wrap":
        span = code_max - code_min + 1
        q = np.vectorize(lambda v: float((int(v) - code_min) % span + code_min), otypes=[float])(q) if q.size else q
    return np.clip(q, code_min, code_max).astype(np.int64)


def decode(codes: Any, step: Any = 1.0, offset: Any = 0.0) -> np.ndarray:
    """Float64 values of codes."""
    return offset + step * np.asarray(codes, dtype=np.float64)


def encode_float(
    values: Any, code_values: np.ndarray, beyond: float, rounding: str, overflow: str, threshold: Any = None
) -> np.ndarray:
    """Values of the codes that float values round to, by search in the table of all values of a format.

    Parameters
    ----------
    values : array of float64
    code_values : array
        Values of all codes in code order; codes of one sign ascend with their magnitude.
    beyond : float
        What would be the next value after the largest finite one, if the exponents went on.
    rounding, overflow : str
    threshold : array, optional
        For "stochastic": up (away from -inf) where the fraction of the gap reaches it.

    Notes
    -----
    Differences of a float64 to its two neighbours in the format are exact (Sterbenz), so every decision is.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(code_values)
    codes_of = {float(v): c for c, v in reversed(list(enumerate(code_values))) if np.isfinite(v)}
    grid = np.array(sorted(codes_of))
    high = float(grid[-1])
    low = float(grid[0])
    ladder = np.concatenate([[-beyond] if low < 0 else [], grid, [beyond]])
    clipped = np.clip(values, ladder[0], ladder[-1])
    at = np.clip(np.searchsorted(ladder, clipped, side="right") - 1, 0, len(ladder) - 2)
    lower, upper = ladder[at], ladder[at + 1]
    below, above = clipped - lower, upper - clipped
    even = np.array([codes_of.get(float(v), codes_of[high if v > 0 else low] + 1) % 2 == 0 for v in ladder])
    if rounding == "nearest-even":
        up = (above < below) | ((above == below) & even[at + 1])
    elif rounding == "nearest-away":
        up = (above < below) | ((above == below) & (values > 0))
    elif rounding == "towards-zero":
        up = (values < 0) & (below > 0)
    elif rounding == "towards-positive":
        up = below > 0
    elif rounding == "towards-negative":
        up = np.zeros(values.shape, bool)
    else:
        up = below / (upper - lower) >= threshold
    up |= above == 0
    result = np.where(up, upper, lower)
    over = np.abs(result) > high
    keeps = {"towards-zero": True, "towards-positive": values < 0, "towards-negative": values > 0}.get(rounding, False)
    special = np.inf if np.isinf(code_values).any() else np.nan if not finite.all() else high
    to_special = over & ~np.broadcast_to(keeps, over.shape) if overflow == "ieee" else np.zeros_like(over)
    limit = np.where(values < 0, max(low, -high) if low < 0 else low, high)
    result = np.where(over, limit, result)
    return np.where(to_special, np.copysign(special, values), result)
