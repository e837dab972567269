"""The kernel of Adam on 8-bit moments against its definition, and what its codes must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from adam_reference import (
    BLOCK,
    NUMBERS,
    SECOND,
    first_moment,
    measure_of,
    per_element,
    reference_step,
    second_moment,
    zero_state,
)

import lpnum
from lpnum_optim._moments import adam as kernels


@pytest.mark.parametrize("n", [1, 31, 32, 33, 511, 512, 513, 5000])
def test_the_kernel_does_what_its_definition_says_bit_for_bit(simd_level, seed, n):
    rng = np.random.default_rng(seed)
    p, state = rng.standard_normal(n).astype(np.float32), zero_state(n)
    options = [{}, {"l2": 0.1}, {"keep": 0.9}, {"sign": -1.0}, {"sign": -1.0, "l2": 0.01, "keep": 0.99}]
    spread = np.exp(rng.uniform(-12, 4, n)).astype(np.float32)  # within a block: all of the codes, subnormal ones, too
    for stream in range(25):
        g = (rng.standard_normal(n) * spread * (rng.random(n) < 0.8)).astype(np.float32)
        numbers = NUMBERS | options[stream % len(options)] | {"stream": stream}
        wanted_p, wanted = reference_step(p, g, state, **numbers)
        m_codes, m_scales, v_codes, v_scales = state = tuple(map(np.copy, state))
        kernels.step(p, g, m_codes, m_scales, v_codes, v_scales, **numbers)
        for got, want in zip((p, *state), (wanted_p, *wanted), strict=True):
            assert np.array_equal(got, want)


def test_codes_of_the_second_moment_are_those_of_a_block_format():
    g = np.linspace(0.01, 1, 64, dtype=np.float32)
    _, scales, codes, v_scales = state = zero_state(64)
    kernels.step(np.zeros_like(g), g, *state, **NUMBERS, stream=0)
    v = np.float32(0.001) * g * g
    wanted = lpnum.array(v, dtype=lpnum.BlockFormat(SECOND, BLOCK, scale_rounding="up"))
    assert np.array_equal(wanted.scale_codes, v_scales)
    off = np.abs(codes.astype(int) - wanted.codes.astype(int))  # rounded to nearest there, to a neighbor here
    assert off.max() == 1
    assert scales.min() > 0


def test_parts_of_a_tensor_give_the_bits_of_the_whole():
    rng = np.random.default_rng(0)
    n = 2000
    p, g = rng.standard_normal((2, n)).astype(np.float32)
    whole_p, whole = p.copy(), zero_state(n)
    kernels.step(whole_p, g, *whole, **NUMBERS, stream=3)
    parts = zero_state(n)
    for start, stop in ((0, 640), (640, 672), (672, n)):
        a, b = start // BLOCK, -(-stop // BLOCK)
        pieces = parts[0][start:stop], parts[1][a:b], parts[2][start:stop], parts[3][a:b]
        kernels.step(p[start:stop], g[start:stop], *pieces, **NUMBERS, stream=3, block=a)
    assert np.array_equal(p, whole_p)
    assert all(np.array_equal(x, y) for x, y in zip(parts, whole, strict=True))


def test_moments_keep_their_expectation():
    """Means over 4000 streams; false alarm below 1e-5: Bernstein's bound at 5.5 standard errors, 64 means."""
    n, streams = 32, 4000
    rng = np.random.default_rng(1)
    g = (rng.choice([-1.0, 1.0], n) * np.exp(rng.uniform(-4, 0, n))).astype(np.float32)
    many = np.tile(g, streams)
    state = zero_state(many.size)
    kernels.step(np.zeros_like(many), many, *state, **NUMBERS, stream=0)
    v = second_moment(state[2], state[3])
    m = first_moment(state[0], state[1], v)
    steps_of_v = v / 2**kernels.MANTISSA_BITS
    steps_of_m = per_element(state[1], many.size) / 64 * measure_of(v)
    for values, exact, steps in ((m, 0.1 * g, steps_of_m), (v, 0.001 * g * g, steps_of_v)):
        rows = values.reshape(streams, n).astype(np.float64)
        largest = steps.reshape(streams, n).max(0)
        allowed = 5.5 * rows.std(0) / math.sqrt(streams) + 12 * largest / streams + 2.0**-17 * largest
        assert (np.abs(rows.mean(0) - exact) <= allowed).all()
        assert (rows.std(0) > 0).mean() > 0.9


def test_a_second_moment_above_zero_never_becomes_zero(simd_level):
    n = 4096
    g = np.full(n, 1e-9, np.float32)
    g[::BLOCK] = 1.0  # the others are far below what the block's scale holds
    state = zero_state(n)
    p = np.zeros(n, np.float32)
    for stream in range(3):
        kernels.step(p, g, *state, **NUMBERS, stream=stream)
        assert (state[2] > 0).all()
    assert (state[0][g == 1] > 0).all()


def test_wrong_buffers_are_errors_of_the_compiled_step():
    p, g, state = np.zeros(40, np.float32), np.zeros(40, np.float32), zero_state(40)
    wrong = [
        (p.astype(float), g, *state),
        (p, g[:39], *state),
        (p, np.zeros(80, np.float32)[::2], *state),
        (p, g, state[0].view(np.uint8), *state[1:]),
        (p, g, state[0], state[1][:1], *state[2:]),
        (p, g, *state[:3], np.zeros(3, np.uint8)),
    ]
    for arguments in wrong:
        with pytest.raises((ValueError, TypeError)):
            kernels.step(*arguments, **NUMBERS, stream=0)
    with pytest.raises((ValueError, TypeError)):
        kernels.largest_magnitude(p.astype(float))


def test_codes_out_of_the_ordinary_do_no_harm(simd_level):
    """What a damaged file may hold: every code and every scale."""
    rng = np.random.default_rng(0)
    n = 256 * BLOCK
    state = (rng.integers(-128, 128, n, np.int8), rng.permutation(256).astype(np.uint8),
             rng.integers(0, 256, n, np.uint8), rng.permutation(256).astype(np.uint8))  # fmt: skip
    p, g = np.zeros(n, np.float32), rng.standard_normal(n).astype(np.float32)
    for stream in range(3):
        kernels.step(p, g, *state, **NUMBERS, stream=stream)
    assert state[1].max() <= 253


@pytest.mark.parametrize("value", [0.0, -0.5, 3e38, math.inf, math.nan])
def test_the_largest_magnitude_is_found_wherever_it_is(simd_level, value):
    for n in (1, 7, 64, 1001):
        for k in {0, n // 2, n - 1}:
            x = np.zeros(n, np.float32)
            x[k] = value
            np.testing.assert_equal(kernels.largest_magnitude(x), abs(np.float32(value)))
    assert kernels.largest_magnitude(np.zeros(0, np.float32)) == 0.0
