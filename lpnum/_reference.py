"""The specification in code: slow, obvious NumPy for what the kernels do fast. Tests compare bit for bit.

Nothing here is called by the library itself. Values are float64 throughout; ``code = round((value - offset) / step)``
and ``value = offset + step * code`` with one rounding to an integer, where ``step = scale * 2**-frac``.
"""

from __future__ import annotations

import bisect
import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lpnum.float_formats import FloatFormat

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


# ---- floats: the definition of a format in rational numbers, and the same by search for whole arrays ----------------


_WITH_MINUS_ZERO = ("ieee", "fn", "none")


def continued_magnitude(fmt: FloatFormat, magnitude: int) -> Fraction:
    """Value that exponent field and mantissa spell, as if no code were special and the exponents went on."""
    field, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    if not fmt.zero:
        return Fraction(2) ** (field - fmt.bias)
    return (Fraction(mantissa, 1 << fmt.mantissa_bits) + (field > 0)) * Fraction(2) ** (max(field, 1) - fmt.bias)


def float_value(fmt: FloatFormat, code: int) -> Fraction | float:
    """Value of a code by the table of `FloatFormat`; what is no rational number (NaN, infinity, -0) is a float."""
    bits = fmt.exponent_bits + fmt.mantissa_bits
    negative, magnitude = divmod(code, 1 << bits)
    field, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    last, sign = (1 << bits) - 1, -1 if negative else 1
    if fmt.specials == "ieee" and field == (1 << fmt.exponent_bits) - 1:
        return math.nan if mantissa else sign * math.inf
    if fmt.specials == "fn" and magnitude == last:
        return math.nan
    if fmt.specials not in _WITH_MINUS_ZERO and code == (1 << bits if fmt.signed else last):
        return math.nan
    if fmt.specials == "p3109" and magnitude == (last if fmt.signed else last - 1):
        return sign * math.inf
    value = sign * continued_magnitude(fmt, magnitude)
    return -0.0 if negative and not value else value


@lru_cache(maxsize=16)
def _ladder(fmt: FloatFormat) -> tuple[list[Fraction], bool, int | None]:
    """Magnitudes in code order with the one that would follow; whether that is infinite; the code of NaN."""
    bits = fmt.exponent_bits + fmt.mantissa_bits
    values = [float_value(fmt, code) for code in range(1 << bits)]
    finite = [v for v in values if isinstance(v, Fraction)]
    nans = [code for code, v in enumerate(values) if isinstance(v, float) and math.isnan(v)]
    if fmt.specials not in _WITH_MINUS_ZERO and fmt.signed:
        nans = [1 << bits]
    quiet = [code for code in nans if code >> max(fmt.mantissa_bits - 1, 0) & 1] or nans
    ladder = [*finite, continued_magnitude(fmt, len(finite))]
    return ladder, any(isinstance(v, float) and math.isinf(v) for v in values), quiet[0] if quiet else None


def _code_at(fmt: FloatFormat, k: int, negative: bool, infinite: bool, rounding: str, overflow: str) -> int | None:
    """Code of the rounded magnitude number k, or of what lies beyond; None where that is an error."""
    ladder, has_infinity, nan = _ladder(fmt)
    largest = len(ladder) - 2
    sign = 1 << (fmt.exponent_bits + fmt.mantissa_bits) if negative and fmt.signed else 0
    if k <= largest:
        return k if k == 0 and fmt.specials not in _WITH_MINUS_ZERO else k + sign
    inwards = {"towards-zero", "towards-positive" if negative else "towards-negative"}
    if overflow == "error":
        return None
    if overflow == "ieee" and (infinite or rounding not in inwards):  # infinity is exact: no rounding makes it finite
        if has_infinity:
            return largest + 1 + sign
        if nan is not None:
            return nan
    return largest + sign


def float_code(
    fmt: FloatFormat, value: float | Fraction, rounding: str, overflow: str, threshold: Fraction | None = None
) -> int | None:
    """Code of one number, decided in rational numbers; None where it is an error.

    Parameters
    ----------
    fmt : FloatFormat
    value : float or Fraction
    rounding, overflow : str
    threshold : Fraction, optional
        For "stochastic": away from -inf where the fraction of the gap reaches it.
    """
    ladder, _, nan = _ladder(fmt)
    if isinstance(value, Fraction):
        negative, infinite = value < 0, False
    else:
        negative, infinite = math.copysign(1.0, value) < 0, math.isinf(value)
        if math.isnan(value):
            return nan
    if negative and value and not fmt.signed:
        return nan if overflow == "ieee" else None
    if infinite:
        return _code_at(fmt, len(ladder), negative, True, rounding, overflow)
    exact = abs(Fraction(value))
    k = bisect.bisect_right(ladder, exact) - 1
    if 0 <= k < len(ladder) - 1:
        fraction = (exact - ladder[k]) / (ladder[k + 1] - ladder[k])
        t = Fraction(1) if threshold is None else threshold
        k += {
            "nearest-even": fraction > Fraction(1, 2) or (fraction == Fraction(1, 2) and k % 2 == 1),
            "nearest-away": fraction >= Fraction(1, 2),
            "towards-zero": False,
            "towards-positive": fraction > 0 and not negative,
            "towards-negative": fraction > 0 and negative,
            "stochastic": fraction > 1 - t if negative else fraction >= t,
        }[rounding]
    return _code_at(fmt, max(k, 0), negative, False, rounding, overflow)  # without zero: the smallest


@lru_cache(maxsize=16)
def _float_ladder(fmt: FloatFormat) -> np.ndarray:
    return np.array([float(v) for v in _ladder(fmt)[0]])


_REFUSED = -1  # stands for what encode refuses


@lru_cache(maxsize=64)
def _code_table(fmt: FloatFormat, rounding: str, overflow: str) -> np.ndarray:
    """`_code_at` of both signs and all k, followed by columns for infinity, NaN and negatives of unsigned formats."""
    ladder, _, nan = _ladder(fmt)
    table = np.full((2, len(ladder) + 3), _REFUSED, np.int32)
    table[0, : len(ladder) - 1] = np.arange(len(ladder) - 1)
    table[1] = table[0] + (1 << (fmt.exponent_bits + fmt.mantissa_bits) if fmt.signed else 0)
    for negative in (False, True):
        for k in (0, len(ladder) - 1, len(ladder)):
            code = _code_at(fmt, k, negative, k == len(ladder), rounding, overflow)
            table[int(negative), k] = _REFUSED if code is None else code
    table[:, -2:] = _REFUSED
    if nan is not None:
        table[:, -2] = nan
        table[:, -1] = nan if overflow == "ieee" else _REFUSED
    return table


class FloatSearch:
    """The decisions of `float_code` for whole arrays of float64: search in the table of all magnitudes of a format.

    Exact, too: a float64 minus its lower neighbour in the format is (Sterbenz, or the neighbour is 0), and so is the
    division by their distance, a power of two, as far as a fraction below 2^-33 may become 0.

    Parameters
    ----------
    fmt : FloatFormat
    values : array_like of float64
        Located once; `codes` then answers for any rounding and policy.
    """

    ERROR = _REFUSED

    def __init__(self, fmt: FloatFormat, values: Any) -> None:
        ladder = _float_ladder(fmt)
        x = np.asarray(values, np.float64)
        size = np.abs(x)
        k = np.searchsorted(ladder, size, side="right") - 1  # NaN is behind all
        inside = (k >= 0) & (k < len(ladder) - 1)
        lower = np.where(inside, k, 0)
        self.fmt = fmt
        self.negative = np.signbit(x)
        self.remainder = np.where(inside, size - ladder[lower], 0.0)
        self.fraction = self.remainder / (ladder[lower + 1] - ladder[lower])
        self.k = np.maximum(k, 0)
        self.k[np.isinf(x)] = len(ladder)
        self.k[np.isnan(x)] = len(ladder) + 1
        if not fmt.signed:
            self.k[self.negative & (x < 0)] = len(ladder) + 2
            self.remainder[self.negative] = self.fraction[self.negative] = 0

    def rounds_up(self, rounding: str, threshold: Any = None) -> np.ndarray:
        """Whether each magnitude goes to the next larger one."""
        if rounding == "nearest-even":
            return (self.fraction > 0.5) | ((self.fraction == 0.5) & (self.k % 2 == 1))
        if rounding == "nearest-away":
            return self.fraction >= 0.5
        if rounding == "towards-zero":
            return np.zeros(self.k.shape, bool)
        if rounding == "towards-positive":
            return (self.remainder > 0) & ~self.negative
        if rounding == "towards-negative":
            return (self.remainder > 0) & self.negative
        return np.where(self.negative, self.fraction > 1 - threshold, self.fraction >= threshold)

    def codes(self, rounding: str, overflow: str, threshold: Any = None) -> np.ndarray:
        """Codes (int32), `ERROR` where encode refuses the value."""
        table = _code_table(self.fmt, rounding, overflow)
        k = self.k + self.rounds_up(rounding, threshold)
        return np.take(table.reshape(-1), k + self.negative * table.shape[1])
