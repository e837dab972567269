"""The oracle itself, against published and exact results, so that everything else can lean on it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lpnum import _reference
from lpnum._core import kernels
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES


def ars(counter: int, key: int, rounds: int) -> int:
    """ARS on 128-bit integers, from the rounds of the oracle."""
    words = [key & (2**64 - 1), key >> 64]

    def key_bytes() -> np.ndarray:
        return np.frombuffer(b"".join(w.to_bytes(8, "little") for w in words), np.uint8)

    state = np.frombuffer(counter.to_bytes(16, "little"), np.uint8).reshape(1, 16) ^ key_bytes()
    for r in range(1, rounds + 1):
        words = [(w + c) % 2**64 for w, c in zip(words, _reference.WEYL, strict=True)]
        state = _reference.aes_round(state, key_bytes(), last=r == rounds)
    return int.from_bytes(state.tobytes(), "little")


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (1, 0x1A0B14C707B64224E548EF12331396EF),
        (2, 0x3CED8E0970690F718336318BA22E8AE1),
        (10, 0xAC35DF44F996ED824E287697BAD2F9A2),
    ],
)
def test_ars_gives_the_values_another_implementation_publishes(rounds, expected):
    # Known answers of Random123.jl (counter incremented before use).
    counter, key = 0x9799B5D54F7B9227B47607190D0DFEFB + 1, 0x07B8E4B6AA98EC245A7DA274D3B8146A
    assert ars(counter, key, rounds) == expected


def test_blocks_of_the_oracle_are_seven_rounds_of_the_counter():
    blocks = _reference.ars_blocks(3, 5, 10, 2)
    for k in range(2):
        assert int.from_bytes(blocks[k].tobytes(), "little") == ars(10 + k, 5 << 64 | 3, 7)


def test_sbox_is_the_one_of_aes():
    assert (_reference.SBOX[[0x00, 0x01, 0x53, 0xFF]] == [0x63, 0x7C, 0xED, 0x16]).all()
    assert sorted(_reference.SBOX) == list(range(256))


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize(("first", "n"), [(0, 1), (0, 1000), (5, 77), (123, 9001), (2**40 + 3, 50)])
def test_kernels_draw_the_words_of_the_oracle(simd_level, bits, first, n):
    rng = CounterRNG(seed=2**63 + 11, stream=7)
    np.testing.assert_array_equal(rng.words(n, bits, first), _reference.random_words(rng.seed, 7, first, n, bits))


def test_words_are_uniform():
    # Chi-square of 256 bins on 2**20 low and high bytes; false alarm 1e-6 each (quantile from the normal limit).
    words = CounterRNG(1).words(2**20)
    for byte in (words & 255, words >> 8):
        chi2 = (((np.bincount(byte, minlength=256) - 4096.0) ** 2) / 4096.0).sum()
        assert abs(chi2 - 255) < 4.9 * np.sqrt(2 * 255)


EXACT = {
    "nearest-even": lambda q: Fraction(round(q)),
    "nearest-away": lambda q: (1 if q >= 0 else -1) * Fraction((abs(q) + Fraction(1, 2)).__floor__()),
    "towards-zero": lambda q: Fraction(q.__trunc__()),
    "towards-positive": lambda q: Fraction(q.__ceil__()),
    "towards-negative": lambda q: Fraction(q.__floor__()),
}


@pytest.mark.parametrize("mode", EXACT)
def test_oracle_rounds_as_exact_rational_arithmetic_does(mode, seed):
    rng = np.random.default_rng(seed)
    halves = np.arange(-300, 300) / 2
    ulps = np.concatenate(
        [np.nextafter(halves, -np.inf), halves, np.nextafter(halves, np.inf), rng.normal(0, 50, 2000)]
    )
    expected = [int(min(max(EXACT[mode](Fraction(v)), -128), 127)) for v in ulps]
    np.testing.assert_array_equal(_reference.encode(ulps, -128, 127, rounding=mode), expected)


def test_every_mode_of_the_vocabulary_has_an_exact_counterpart_here():
    assert set(EXACT) | {"stochastic"} == set(ROUNDING_MODES)


def test_setting_an_unknown_or_impossible_level_is_an_error():
    with pytest.raises(ValueError, match="unknown SIMD level 'sse9'"):
        kernels.set_simd_level("sse9")
