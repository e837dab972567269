"""LPArrays as chunks of dask.array: what is computed chunk by chunk is what the whole array gives, format included."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum.testing import assert_same

da = pytest.importorskip("dask.array", reason="needs dask")
dask_base = pytest.importorskip("dask.base")
chunk_types = pytest.importorskip("dask.array.chunk_types")
dask_sizeof = pytest.importorskip("dask.sizeof").sizeof

VALUES = np.random.default_rng(0).normal(size=(6, 8))
ARRAYS = {
    "fixed8": lpnum.array(VALUES),
    "rows": lpnum.array(VALUES, axis=0),
    "float8": lpnum.array(VALUES, dtype=lpnum.float8_e4m3fn),
    "Qm.n": lpnum.array(VALUES, dtype=lpnum.fixed(8, frac=4)),
}


@pytest.fixture(params=list(ARRAYS))
def x(request: pytest.FixtureRequest) -> lpnum.LPArray:
    """One array of each kind: fixed point, a scale for each row, small floats, a binary point."""
    return ARRAYS[request.param].copy()


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dask as it is when it has never met an LPArray."""
    known = [t for t in chunk_types._HANDLED_CHUNK_TYPES if not issubclass(lpnum.LPArray, t)]
    monkeypatch.setattr(chunk_types, "_HANDLED_CHUNK_TYPES", known)
    yield
    monkeypatch.undo()


def chunked(x: Any, chunks: Any = (3, 4)) -> Any:
    return da.from_array(x, chunks=chunks, asarray=False)


def equal(chunkwise: Any, whole: Any) -> None:
    """The computed Dask array is `whole`: same type, bits, format; and its meta told the type beforehand."""
    computed = chunkwise.compute(scheduler="sync")
    if isinstance(whole, lpnum.LPArray):
        assert isinstance(chunkwise._meta, lpnum.LPArray)
        assert chunkwise._meta.format == whole.format
        assert_same(computed, whole)
    else:
        assert type(chunkwise._meta) is np.ndarray
        assert isinstance(computed, np.ndarray | np.generic)
        np.testing.assert_array_equal(computed, whole)
    assert chunkwise.shape == whole.shape
    assert chunkwise.dtype == whole.dtype == computed.dtype


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_from_array_keeps_the_chunks_and_compute_gives_the_array_back(x: lpnum.LPArray) -> None:
    for d in (chunked(x), da.from_array(x, chunks=(4, 5)), da.from_array(x, chunks=-1)):
        assert d._meta.shape == (0, 0)
        assert d.nbytes == x.size * x.dtype.itemsize  # Dask counts what the values would take
        assert all(type(block.compute()) is lpnum.LPArray for block in d.blocks.ravel())
        equal(d, x)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "x + x": lambda x: x + x,
    "x * x": lambda x: x * x,
    "x - 1": lambda x: x - 1,
    "2 * x": lambda x: 2 * x,
    "1 - x": lambda x: 1 - x,
    "-x": lambda x: -x,
    "abs": abs,
    "exp": np.exp,
    "maximum": lambda x: np.maximum(x, 0.5 * x),
    "x**2": lambda x: x**2,
    "comparison": lambda x: x > 0.25,
    "isnan": np.isnan,
    "clip": lambda x: x.clip(-1, 1),
    "round": lambda x: x.round(1),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions_of_chunks_are_those_of_the_array(x: lpnum.LPArray, name: str) -> None:
    # "cover" and "keep" choose the grid without looking at values; functions of an array with a grid
    # for each row are calibrated on the values of the chunk
    function = ELEMENTWISE[name]
    if x._scale.ndim and name in ("abs", "exp", "x**2", "round", "maximum"):
        computed = function(chunked(x, (1, 8))).compute()
        rows = [np.asarray(function(x[k : k + 1])) for k in range(len(x))]
        np.testing.assert_array_equal(np.asarray(computed), np.concatenate(rows))
        assert isinstance(computed, lpnum.LPArray)
    else:
        equal(function(chunked(x)), function(x))


MOVES: dict[str, Callable[..., Any]] = {
    "T": lambda x: x.T,
    "reshape": lambda x: x.reshape(48),
    "slice": lambda x: x[1:5, ::2],
    "row": lambda x: x[2],
    "positions": lambda x: x[[0, 3, 5]],
    "newaxis": lambda x: x[None],
    "flip": lambda x: np.flip(x, 0),
    "roll": lambda x: np.roll(x, 1, 0),
    "repeat": lambda x: np.repeat(x, 2, axis=0),
    "tile": lambda x: np.tile(x, 2),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 6, 8)),
    "concatenate": lambda x: np.concatenate([x, x]),
    "stack": lambda x: np.stack([x, x]),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "squeeze": lambda x: np.squeeze(x[:1]),
}


@pytest.mark.parametrize("name", MOVES)
def test_moved_elements_keep_their_codes_and_grids(x: lpnum.LPArray, name: str) -> None:
    d, whole = MOVES[name](chunked(x)), MOVES[name](x)
    computed = d.compute(scheduler="sync")
    assert isinstance(d._meta, lpnum.LPArray)
    assert d.shape == computed.shape == whole.shape
    assert computed.format == whole.format
    np.testing.assert_array_equal(computed.codes, whole.codes)
    np.testing.assert_array_equal(computed.dequantize(), whole.dequantize())


def test_rechunk_joins_and_splits_without_a_change(x: lpnum.LPArray) -> None:
    equal(chunked(x).rechunk((2, 8)).rechunk((6, 1)), x)
    assert chunked(x).rechunk(-1).numblocks == (1, 1)


def test_chunks_with_grids_of_their_own_join_to_an_array_that_keeps_all_of_them() -> None:
    plain = da.from_array(VALUES * np.arange(1.0, 7.0)[:, None], chunks=(3, 4))
    d = plain.map_blocks(lambda block: lpnum.array(block), meta=lpnum.zeros((0, 0)))
    computed = d.compute(scheduler="sync")
    for rows in (slice(0, 3), slice(3, 6)):
        for columns in (slice(0, 4), slice(4, 8)):
            expected = lpnum.array(plain[rows, columns].compute())
            np.testing.assert_array_equal(computed[rows, columns].codes, expected.codes)
            np.testing.assert_array_equal(computed[rows, columns].dequantize(), expected.dequantize())


# --- sums and products -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("name", ["sum", "mean", "min", "max", "prod", "any"])
def test_reductions_of_chunks_are_plain_and_right(x: lpnum.LPArray, name: str, axis: Any) -> None:
    d = getattr(da, name)(chunked(x), axis=axis)
    computed = d.compute(scheduler="sync")
    assert type(d._meta) is np.ndarray
    assert isinstance(computed, np.ndarray | np.generic)
    np.testing.assert_allclose(computed, getattr(np, name)(x.dequantize(), axis=axis), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_variances_square_the_deviations_in_the_format_unless_the_chunks_are_made_plain(
    x: lpnum.LPArray, axis: Any
) -> None:
    # Dask's chunk function is sum((x - mean)**2), and x**2 is rounded to the grid; lpnum's own x.var() is not
    d, values = chunked(x), x.dequantize()
    plain = d.map_blocks(np.asarray)
    np.testing.assert_allclose(da.var(plain, axis=axis).compute(), values.var(axis=axis), rtol=1e-12)
    np.testing.assert_allclose(da.std(plain, axis=axis).compute(), values.std(axis=axis), rtol=1e-12)
    np.testing.assert_allclose(da.var(d, axis=axis).compute(), values.var(axis=axis), rtol=1 / 16)


def test_positions_of_extremes_cumulative_sums_and_order_statistics(x: lpnum.LPArray) -> None:
    d, values = chunked(x), x.dequantize()
    np.testing.assert_array_equal(d.argmax(axis=0).compute(), values.argmax(axis=0))
    np.testing.assert_array_equal(d.argmin().compute(), values.argmin())
    np.testing.assert_allclose(d.cumsum(axis=0).compute(), values.cumsum(axis=0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(da.median(d, axis=0).compute(), np.median(values, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(da.topk(d, 2, axis=1).compute()), -np.sort(-values, axis=1)[:, :2])
    np.testing.assert_array_equal(np.asarray(da.unique(d).compute()), np.unique(values))
    np.testing.assert_array_equal(da.histogram(d, bins=4, range=(-2, 2))[0], np.histogram(values, 4, (-2, 2))[0])


def test_products_of_chunks_are_plain_and_right(x: lpnum.LPArray) -> None:
    d, values, v = chunked(x), x.dequantize(), np.arange(8.0)
    cases = {
        "matrix @ vector": (d @ v, values @ v),
        "matrix @ chunked vector": (d @ da.from_array(v, chunks=3), values @ v),
        "vector @ matrix": (np.arange(6.0) @ d, np.arange(6.0) @ values),
        "matrix @ matrix": (d @ d.T, values @ values.T),
        "dot": (da.dot(d, d.T), values @ values.T),
        "dot with floats": (da.dot(d, da.from_array(values.T, chunks=4)), values @ values.T),
        "tensordot": (da.tensordot(d, d, axes=((0, 1), (0, 1))), np.tensordot(values, values, 2)),
        "einsum": (da.einsum("ij,kj->ik", d, d), values @ values.T),
        "array @ chunked": (x @ d.T, values @ values.T),
        "chunked @ array": (d @ x.T, values @ values.T),
    }
    for name, (product, expected) in cases.items():
        computed = product.compute(scheduler="sync")
        assert isinstance(computed, np.ndarray | np.generic), name
        np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_long_sum_does_not_stop_at_the_formats_precision() -> None:
    ones = da.from_array(lpnum.ones(100_000, dtype=lpnum.float8_e4m3fn), chunks=9_999)
    assert ones.sum().compute() == 100_000
    assert ones.mean().compute() == 1


# --- mixed operands --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unregistered")
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "maximum", "greater"])
def test_an_operation_of_an_array_and_a_dask_array_is_dasks(name: str, swapped: bool) -> None:
    x, ufunc = ARRAYS["fixed8"], getattr(np, name)
    y = lpnum.array(2 * VALUES)
    operands = (chunked(y), x) if swapped else (x, chunked(y))
    result = ufunc(*operands)
    assert isinstance(result, da.Array)
    equal(result, ufunc(*((y, x) if swapped else (x, y))))


@pytest.mark.usefixtures("unregistered")
def test_numpys_functions_of_an_array_and_a_dask_array_are_dasks() -> None:
    x = ARRAYS["fixed8"]
    joined = np.concatenate([x, chunked(x)])
    assert isinstance(joined, da.Array)
    equal(joined, np.concatenate([x, x]))
    chosen = np.where(chunked(x) > 0, x, chunked(x))
    assert isinstance(chosen, da.Array)
    np.testing.assert_array_equal(np.asarray(chosen.compute()), x.dequantize())


@pytest.mark.usefixtures("unregistered")
def test_block_arrays_are_chunks_whose_blocks_are_whole() -> None:
    b = lpnum.array(np.linspace(-3, 3, 640).reshape(10, 64), dtype=lpnum.mxfp4)
    d = chunked(b, (5, 32))
    for result, expected in ((d, b), (2 * d, 2 * b), (d + b, b + b), (b - da.ones((10, 64), chunks=(5, 32)), b - 1)):
        computed = result.compute(scheduler="sync")
        assert isinstance(computed, type(b))
        np.testing.assert_array_equal(computed.dequantize(), expected.dequantize())
    np.testing.assert_allclose(d.sum(axis=0).compute(), b.dequantize().sum(axis=0), rtol=1e-12, atol=1e-12)
    assert dask_base.tokenize(b) == dask_base.tokenize(b.copy()) != dask_base.tokenize(2 * b)
    assert b.nbytes < dask_sizeof(b) < b.nbytes + 200


def test_plain_dask_arrays_scale_and_shift_exactly() -> None:
    x, v = ARRAYS["fixed8"], np.arange(1.0, 9.0)
    equal(chunked(x) + da.from_array(v, chunks=4), x + v)
    equal(da.from_array(v, chunks=4) * chunked(x), v * x)


def test_writing_a_dask_array_into_an_array_computes_it() -> None:
    x = ARRAYS["fixed8"].copy()
    x[...] = da.from_array(VALUES, chunks=3)
    assert_same(x, ARRAYS["fixed8"])
    assert_same(lpnum.array(da.from_array(VALUES, chunks=3)), x)
    x[:] = chunked(2 * ARRAYS["fixed8"])
    assert_same(x, ARRAYS["fixed8"].copy().__iadd__(ARRAYS["fixed8"]))


# --- functions of blocks ---------------------------------------------------------------------------------------------


def test_blocks_are_quantized_and_worked_on_by_map_blocks() -> None:
    plain = da.from_array(VALUES, chunks=(3, 4))
    d = plain.map_blocks(lambda block: lpnum.array(block, scale=0.03125))  # meta is found by a block of size 0
    equal(d, lpnum.array(VALUES, scale=0.03125))
    halves = d.map_blocks(lambda block: block.astype(lpnum.float8_e5m2), dtype=d.dtype)
    equal(halves, lpnum.array(VALUES, scale=0.03125).astype(lpnum.float8_e5m2))
    plain = d.map_blocks(np.asarray)
    equal(plain, np.asarray(d.compute()))
    assert da.map_overlap(lambda block: 2 * block, d, depth=1, boundary="reflect").compute().format == lpnum.fixed8


def test_gradients_by_row_blocks_are_those_of_the_matrix() -> None:
    x, w = ARRAYS["rows"], np.linspace(-1, 1, 8)
    d = chunked(x, (2, 8))
    partial = d.map_blocks(
        lambda block: (block.T @ (block @ w))[None], chunks=(1, 8), meta=np.empty((0, 0)), dtype=np.float64
    )
    values = x.dequantize()
    np.testing.assert_allclose(partial.sum(axis=0).compute(), values.T @ (values @ w), rtol=1e-12)


def test_stochastic_rounding_of_blocks_with_a_seed_for_each_is_repeatable_and_unbiased() -> None:
    plain = da.full((40_000,), 0.3, chunks=10_000)

    def rounded(block: np.ndarray, block_id: tuple[int, ...] | None = None) -> lpnum.LPArray:
        return lpnum.array(block, scale=1.0, rounding="stochastic", rng=0 if block_id is None else 1 + block_id[0])

    d = plain.map_blocks(rounded)
    first, second = d.compute(scheduler="threads"), d.compute(scheduler="sync")
    assert_same(first, second)
    blocks = first.codes.reshape(4, -1)
    assert not (blocks[0] == blocks[1]).all()
    # standard deviation of the mean: sqrt(0.21 / 40000) = 0.0023; six of them
    assert abs(first.mean() - 0.3) < 6 * 0.0023


# --- what Dask asks of an object ------------------------------------------------------------------------------------


def test_tokens_tell_contents_apart_and_are_the_same_for_equal_contents() -> None:
    x = lpnum.array(np.linspace(-1, 1, 5000))
    middle = x.copy()
    middle.codes[2500] += 1
    others = [
        x,
        middle,
        2 * x,
        x + 1,
        x.reshape(50, 100),
        lpnum.LPArray(x.codes, lpnum.fixed(8, frac=0), x.scale),
        lpnum.LPArray(x.codes.view(np.uint8), lpnum.ufixed8, x.scale),
        lpnum.LPArray(x.codes.view(np.uint8), lpnum.float8_e5m2, x.scale),
        lpnum.LPArray(x.codes.view(np.uint8), lpnum.float8_e4m3, x.scale),
        lpnum.LPArray(x.codes, x.format, x.scale, dtype=np.float32),
        lpnum.LPArray(x.codes, x.format, np.full(5000, x.scale)),
        lpnum.LPArray(x.codes, x.format, x.scale, rounding="towards-zero"),
        lpnum.LPArray(x.codes, x.format, x.scale, overflow="error"),
        lpnum.LPArray(x.codes, x.format, x.scale, rounding="stochastic", rng=1),
        lpnum.LPArray(x.codes, x.format, x.scale, rounding="stochastic", rng=2),
    ]
    assert len({dask_base.tokenize(y) for y in others}) == len(others)
    assert dask_base.tokenize(x) == dask_base.tokenize(x.copy()) == dask_base.tokenize(pickle.loads(pickle.dumps(x)))
    assert dask_base.tokenize(x[::2]) == dask_base.tokenize(x[::2].copy())
    lpnum.encode(x.dequantize(), lpnum.float8_e5m2)  # what formats remember of their own does not matter
    assert dask_base.tokenize(others[7]) == dask_base.tokenize(pickle.loads(pickle.dumps(others[7])))


def test_tokens_are_the_same_in_another_process() -> None:
    source = "import numpy as np, lpnum, dask.base; print(dask.base.tokenize(lpnum.array(np.arange(9.0), axis=0)))"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(lpnum.__file__).parent.parent)}
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment, timeout=120, check=True
    )
    assert result.stdout.strip() == dask_base.tokenize(lpnum.array(np.arange(9.0), axis=0))


def test_sizes_count_the_codes_also_of_views_and_repeated_elements_once() -> None:
    x = lpnum.zeros((100, 1000))
    assert 100_000 < dask_sizeof(x) < 101_000
    assert 50_000 < dask_sizeof(x[::2]) < 51_000
    assert dask_sizeof(np.broadcast_to(x[0], (100, 1000))) < 2_000
    assert dask_sizeof(x[:0]) < 1_000
    rows = lpnum.array(np.ones((100, 10)), axis=0)
    assert dask_sizeof(rows) - dask_sizeof(lpnum.ones((100, 10))) >= 800  # a float64 scale for each row


def test_dask_collections_of_arrays_are_pickled_with_their_chunks(x: lpnum.LPArray) -> None:
    equal(pickle.loads(pickle.dumps(chunked(x))), x)


def test_arrays_in_read_only_memory_can_be_read_but_not_written() -> None:
    # a worker may hold what it received in memory that it must not change
    x = lpnum.LPArray(np.frombuffer(bytes(range(8)), np.int8), lpnum.fixed8, 0.5)
    assert (x + x).sum() == 28
    with pytest.raises(ValueError, match="read-only"):
        x += 1
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1
    np.testing.assert_array_equal(x.codes, range(8))


# --- processes -------------------------------------------------------------------------------------------------------


def test_serialization_for_workers_moves_the_codes_without_a_copy() -> None:
    protocol = pytest.importorskip("distributed.protocol", reason="needs distributed")
    x = lpnum.zeros((1000, 1000))
    header, frames = protocol.serialize(x)
    assert sum(memoryview(frame).nbytes for frame in frames) < x.nbytes + 1_000
    assert any(np.shares_memory(np.frombuffer(frame, np.int8), x.codes) for frame in frames)
    assert_same(protocol.deserialize(header, frames), x)


@pytest.mark.slow
def test_a_cluster_of_processes_computes_what_one_process_computes() -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    x = lpnum.array(np.random.default_rng(1).normal(size=(400, 300)), axis=0)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    )
    with cluster, distributed.Client(cluster, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        d = chunked(x, (100, 150)).persist()
        distributed.wait(d, timeout=60)
        blocks = client.compute(list(d.blocks.ravel()))
        assert {type(block) for block in client.gather(blocks)} == {lpnum.LPArray}
        assert sum(client.nbytes(keys=[key for key in client.nbytes() if d.name in key]).values()) < 1.1 * x.nbytes
        assert_same(client.compute(d).result(timeout=60), x)
        assert_same(client.compute(d.rechunk((400, 50)).T).result(timeout=60), x.T)
        assert_same(client.compute(d * 2 - 1).result(timeout=60), x * 2 - 1)
        v = np.ones(300)
        np.testing.assert_allclose(client.compute(d @ v).result(timeout=60), x.dequantize() @ v, rtol=1e-10, atol=1e-12)
        total = client.compute((d + d).sum()).result(timeout=60)
        np.testing.assert_allclose(total, (x + x).sum(), rtol=1e-10)
