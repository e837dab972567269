"""What the tests of files share: arrays of every kind, equality to the bit, a bound for memory."""

from __future__ import annotations

import io
import tracemalloc
from contextlib import contextmanager

import numpy as np

import lpnum
from lpnum import testing


def same(a, b):
    """Equal to the bit, with all that an array says about itself."""
    if isinstance(b, np.ndarray):
        assert type(a) is np.ndarray
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        return
    if isinstance(b, lpnum.BlockArray):
        assert (a.format, a.axis, a.tensor_scale) == (b.format, b.axis, b.tensor_scale)
        np.testing.assert_array_equal(a.codes, b.codes)
        np.testing.assert_array_equal(a.scale_codes, b.scale_codes)
    else:
        testing.assert_same(a, b)
        assert (np.shape(a.scale), np.shape(a.offset)) == (np.shape(b.scale), np.shape(b.offset))
    assert (a.codes.dtype, a.shape, a.dtype) == (b.codes.dtype, b.shape, b.dtype)
    assert (a.rounding, a.overflow) == (b.rounding, b.overflow)
    assert (a.rng is None) == (b.rng is None)
    if a.rng is not None:
        assert (a.rng.seed, a.rng.stream) == (b.rng.seed, b.rng.stream)


def saved(*args, **named):
    file = io.BytesIO()
    lpnum.save(file, *args, **named)
    return file.getvalue()


def loaded(data, **options):
    return lpnum.load(io.BytesIO(data), **options)


@contextmanager
def little_memory(limit):
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes"


def several():
    """Arrays of every kind; those in the golden files."""
    codes = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    shared = lpnum.random.CounterRNG(seed=2**64 - 1, stream=5)
    return {
        "fixed8": lpnum.from_codes(codes, lpnum.fixed8, scale=0.1, offset=-2.5),
        "channels": lpnum.from_codes(codes, scale=[[0.1], [0.25], [3e-300]], offset=[[1.0, 2.0, 3.0, 4.0]]),
        "centered": lpnum.zeros(3, scale=1e-3, offset=np.array([1 / 3, -1e10, 5e-324])),
        "point": lpnum.from_codes(np.array([-2048, 2047], np.int16), lpnum.fixed(12, frac=7)),
        "narrow": lpnum.from_codes([[0, 15]], lpnum.ufixed4, scale=-0.5),
        "float8": lpnum.from_codes(np.arange(256, dtype=np.uint8), lpnum.float8_e4m3fn, scale=2.0),
        "float16": lpnum.LPArray(np.array([0, 1, 31744], np.uint16), lpnum.float16, dtype=np.float32),
        "p3109": lpnum.from_codes([0, 127, 128], lpnum.p3109(8, 4)),
        "unsigned": lpnum.from_codes([0, 255], lpnum.float8_e8m0fnu),
        "zero_d": lpnum.array(0.75, lpnum.fixed8),
        "empty": lpnum.array(np.zeros((2, 0, 3)), lpnum.fixed8, axis=0),
        "layers/0.weight": lpnum.LPArray(np.asfortranarray(codes), "fixed8", overflow="wrap"),
        "random": lpnum.zeros(2, scale=1.0, rounding="stochastic", rng=shared),
        "random too": lpnum.zeros(2, scale=2.0, rng=shared),
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bools": np.array([True, False]),
        "complex": np.array(1 + 2j),
    }


def blocks():
    """Block arrays of every named format, along the first and the last axis, and of a format without a name."""
    codes = np.arange(64 * 4, dtype=np.int64).reshape(4, 64)
    arrays = {}
    for name, fmt in lpnum.formats.named_blocks().items():
        # Not quantized here: the golden file must not depend on how values are rounded.
        element = codes % (fmt.element.code_max + 1)
        stored = (element[:, ::2] | element[:, 1::2] << 4 if fmt.packed else element).astype(np.uint8)
        scales = (np.arange(4 * 64 // fmt.block) % 100).astype(np.uint8).reshape(4, -1)
        factor = 0.125 if fmt.tensor_scale else 1.0
        arrays[name] = lpnum.BlockArray(stored, scales, fmt, tensor_scale=factor, dtype=np.float32)
        arrays[name + " columns"] = lpnum.BlockArray(stored.T, scales.T, fmt, axis=0, tensor_scale=factor)
    own = lpnum.BlockFormat(lpnum.minifloat(2, 2, 1, "none"), 8, lpnum.float8_e8m0fnu, "ceil")
    stored, scales = (codes % 32).astype(np.uint8), np.zeros((4, 8), np.uint8)
    arrays["own"] = lpnum.BlockArray(stored, scales, own, rounding="stochastic", rng=3, overflow="clamp")
    return arrays
