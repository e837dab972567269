"""Calls of NumPy's functions for `test_lpnum_coverage`: for LPArrays and for plain arrays of their values alike.

Names separated by spaces share their calls. `a` has: x, y (3, 4); v, w (4,); c (3, 3); s (3, 3) positive definite;
p (4,) positive and ascending; n (3, 4) with NaN where the format has it; file, the name of a file of two float64.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.lib import scimath, stride_tricks
from numpy.polynomial import polynomial


def do(function, target, *args, **kwargs):
    """The target after a function that writes into it."""
    target = np.copy(target)
    assert function(target, *args, **kwargs) is None
    return target


def text_of(a):
    file = io.StringIO()
    np.savetxt(file, a, fmt="%.17g")
    return file.getvalue()


FIRST = np.array([[True, False, True, False]] * 3)
POSITIONS = np.array([2, 0, 1, 0])

# fmt: off
EXAMPLES = {
    # ---- moving
    "array_split": [lambda a: np.array_split(a.x, 3, axis=1)],
    "split": [lambda a: np.split(a.x, [1, 2]), lambda a: np.split(a.x, 2, axis=1)],
    "hsplit": [lambda a: np.hsplit(a.x, 2)],
    "vsplit": [lambda a: np.vsplit(a.x, 3)],
    "dsplit": [lambda a: np.dsplit(a.x.reshape(1, 3, 4), 2)],
    "unstack": [lambda a: np.unstack(a.x, axis=1)],
    "broadcast_to": [lambda a: np.broadcast_to(a.v, (2, 4))],
    "broadcast_arrays": [lambda a: np.broadcast_arrays(a.x, a.v, 1.0), lambda a: np.broadcast_arrays(a.v)],
    "meshgrid": [lambda a: np.meshgrid(a.v, a.w[:2]), lambda a: np.meshgrid(a.v, [1.0, 2.0], indexing="ij")],
    "atleast_1d atleast_2d atleast_3d": [
        lambda a: (np.atleast_1d(a.v[0:1].reshape(())), np.atleast_1d(a.v, a.x)), lambda a: np.atleast_2d(a.v),
        lambda a: np.atleast_3d(a.v, a.x),
    ],
    "delete": [lambda a: np.delete(a.x, [0, 2], axis=1), lambda a: np.delete(a.x, 3)],
    "diagonal linalg.diagonal": [
        lambda a: np.diagonal(a.x, 1), lambda a: np.linalg.diagonal(a.x), lambda a: a.x.diagonal(),
    ],
    "diag diagflat": [
        lambda a: np.diag(a.x), lambda a: np.diag(a.v, 1), lambda a: np.diag(a.v), lambda a: np.diagflat(a.x, -1),
    ],
    "tril triu": [lambda a: np.tril(a.x), lambda a: np.triu(a.x, 1), lambda a: np.triu(a.v)],
    "expand_dims": [lambda a: np.expand_dims(a.x, (0, 2))],
    "squeeze": [lambda a: np.squeeze(a.x[:1]), lambda a: a.x[:, :1].squeeze(1)],
    "flip fliplr flipud": [lambda a: np.flip(a.x, 1), lambda a: np.fliplr(a.x), lambda a: np.flipud(a.x)],
    "moveaxis rollaxis swapaxes": [
        lambda a: np.moveaxis(a.x, 0, 1), lambda a: np.rollaxis(a.x, 1), lambda a: np.swapaxes(a.x, 0, 1),
    ],
    "transpose matrix_transpose linalg.matrix_transpose": [
        lambda a: np.transpose(a.x), lambda a: np.matrix_transpose(a.x), lambda a: np.linalg.matrix_transpose(a.x),
        lambda a: (a.x.T, a.x.mT),
    ],
    "ravel reshape resize": [
        lambda a: np.ravel(a.x, "F"), lambda a: np.reshape(a.x, (2, -1)), lambda a: np.resize(a.x, (5, 3)),
    ],
    "roll rot90 tile repeat": [
        lambda a: np.roll(a.x, (1, 2), (0, 1)), lambda a: np.rot90(a.x, 3), lambda a: np.tile(a.x, (2, 2)),
        lambda a: np.repeat(a.x, [1, 2, 0], axis=0), lambda a: a.x.repeat(2),
    ],
    "take take_along_axis": [
        lambda a: np.take(a.x, [[3, 0]], axis=1), lambda a: a.x.take([1, -1], mode="wrap"),
        lambda a: np.take_along_axis(
            a.x,
            POSITIONS[
                None,
                :3,
            ].T
            % 4,
            1,
        ),
        lambda a: np.take(a.x, [0, 1], axis=0, out=np.empty((2, 4))),
    ],
    "compress extract": [
        lambda a: np.compress([True, False, True], a.x, axis=0), lambda a: np.extract(FIRST, a.x),
        lambda a: a.x.compress([False, True]),
    ],
    "trim_zeros": [lambda a: np.trim_zeros(np.concatenate([a.v * 0, a.v, a.v * 0]))],
    "fft.fftshift fft.ifftshift": [lambda a: np.fft.fftshift(a.x), lambda a: np.fft.ifftshift(a.v)],
    "lib.stride_tricks.sliding_window_view": [lambda a: stride_tricks.sliding_window_view(a.x, (2, 2))],
    # ---- joining
    "concatenate": [
        lambda a: np.concatenate([a.x, a.y]), lambda a: np.concatenate((a.x, a.y, a.x), axis=1),
        lambda a: np.concatenate([a.x, a.y], axis=None), lambda a: np.concatenate([a.x, a.y], out=np.empty((6, 4))),
        lambda a: np.concatenate([a.x, a.y], dtype=np.float32),
    ],
    "stack vstack hstack dstack column_stack": [
        lambda a: np.stack([a.x, a.y], axis=-1), lambda a: np.vstack([a.x, a.v]), lambda a: np.hstack([a.v, a.w]),
        lambda a: np.dstack([a.x, a.y]), lambda a: np.column_stack([a.v, a.w]),
        lambda a: np.vstack([a.x, np.ones(4)]),
    ],
    "block": [lambda a: np.block([[a.c, a.c.T], [a.x[:, :3], a.c]])],
    "append insert": [
        lambda a: np.append(a.v, a.w), lambda a: np.append(a.x, a.y, axis=1), lambda a: np.append(a.v, 1.0),
        lambda a: np.insert(a.x, [1, 3], a.c[:, :2], axis=1), lambda a: np.insert(a.v, 2, [1.0, 2.0]),
        lambda a: np.insert(a.x, 1, 4.0, axis=0),
    ],
    "pad": [
        lambda a: np.pad(a.x, 1), lambda a: np.pad(a.x, ((0, 2), (1, 0)), constant_values=1.0),
        *[lambda a, m=m: np.pad(a.x, 2, mode=m) for m in ("edge", "reflect", "symmetric", "wrap", "mean", "maximum")],
        lambda a: np.pad(a.v, 3, mode="linear_ramp", end_values=0.0), lambda a: np.pad(a.v, 1, "median"),
        lambda a: np.pad(a.x, 1, mode="empty")[1:-1, 1:-1],
    ],
    # ---- order, sets
    "sort": [
        lambda a: np.sort(a.x), lambda a: np.sort(a.x, axis=0, kind="stable"), lambda a: np.sort(a.x, axis=None),
        lambda a: np.sort(a.n), lambda a: do(lambda t: t.sort(), a.v), lambda a: np.sort(-a.x),
    ],
    "partition argpartition": [
        lambda a: np.partition(a.x, 2)[:, 2], lambda a: np.sort(np.partition(a.x, 1, axis=0)[:2], axis=0),
        lambda a: np.take_along_axis(a.x, np.argpartition(a.x, 2), 1)[:, 2],
        lambda a: np.partition(a.x, 5, axis=None)[5], lambda a: do(lambda t: t.partition(1), a.v)[1:2],
    ],
    "argsort lexsort": [
        lambda a: np.argsort(a.x, kind="stable"), lambda a: np.argsort(a.x, axis=0, stable=True),
        lambda a: np.argsort(a.x, axis=None, kind="stable"), lambda a: a.n.argsort(kind="stable"),
        lambda a: np.lexsort((a.v, [1, 0, 1, 0])), lambda a: np.lexsort(a.x),
    ],
    "argmax argmin": [
        lambda a: np.argmax(a.x), lambda a: a.x.argmax(axis=0), lambda a: np.argmin(a.x, axis=1, keepdims=True),
        lambda a: (a.n.argmax(), a.n.argmin()),
    ],
    "unique": [
        lambda a: np.unique(a.x), lambda a: np.unique(np.concatenate([a.v, a.v]), True, True, True),
        lambda a: np.unique(np.concatenate([a.x, a.x]), axis=0, return_inverse=True), lambda a: np.unique(a.n),
        lambda a: np.unique(a.n, equal_nan=False),
    ],
    "unique_all unique_counts unique_inverse unique_values": [
        lambda a: np.unique_all(a.x), lambda a: np.unique_counts(np.stack([a.v, a.v])),
        lambda a: np.unique_inverse(a.n), lambda a: np.sort(np.unique_values(a.x)),
    ],
    "intersect1d setdiff1d setxor1d union1d isin": [
        lambda a: np.intersect1d(a.x, a.x[1:]), lambda a: np.intersect1d(a.v, a.v[1:], return_indices=True),
        lambda a: np.setdiff1d(a.x, a.x[:2]), lambda a: np.setxor1d(a.x[:2], a.x[1:]),
        lambda a: np.union1d(a.x[:2], a.x[1:]), lambda a: np.isin(a.x, a.x[1]),
        lambda a: np.isin(a.x, [1.0], invert=True),
    ],
    # ---- choosing, limits
    "where": [
        lambda a: np.where(FIRST, a.x, a.y), lambda a: np.where(a.x > 0, a.x, 0.0),
        lambda a: np.where(FIRST, 100.0, a.x), lambda a: np.where(a.x > 1), lambda a: np.where(FIRST, a.x, a.v),
        lambda a: np.where(True, a.x, -a.x), lambda a: np.where(FIRST[:, :1], a.x, np.ones(4)),
    ],
    "select choose piecewise": [
        lambda a: np.select([FIRST, a.x > 1], [a.x, a.y], default=2.0), lambda a: np.select([a.v > 0], [a.v]),
        lambda a: np.choose(POSITIONS % 2, [a.v, a.w]), lambda a: np.choose(FIRST.astype(int), [a.x, 1.0]),
        lambda a: np.piecewise(a.x, [a.x < 0, a.x > 1], [lambda t: t, 1.0, 0.0]),
    ],
    "clip": [
        lambda a: np.clip(a.x, -1.5, 1.5), lambda a: a.x.clip(max=1.5), lambda a: np.clip(a.x, a.v, None),
        lambda a: np.clip(a.x, 0, 1.5, out=np.empty((3, 4))),
    ],
    "nan_to_num": [lambda a: np.nan_to_num(a.n), lambda a: np.nan_to_num(a.n, nan=1.0)],
    # ---- writing
    "copyto": [
        lambda a: do(np.copyto, a.x, a.x[::-1]), lambda a: do(np.copyto, a.x, 1.0, where=FIRST),
        lambda a: do(np.copyto, np.zeros((3, 4)), a.x, where=FIRST),
        lambda a: do(np.copyto, a.x, np.where(FIRST, 2.0, np.nan), where=FIRST),
    ],
    "fill_diagonal": [lambda a: do(np.fill_diagonal, a.c, 1.0), lambda a: do(np.fill_diagonal, a.c, a.v[:3])],
    "place put putmask put_along_axis": [
        lambda a: do(np.place, a.x, FIRST, [1.0, 2.0, 4.0]), lambda a: do(np.put, a.x, [0, -1, 3], [1.0, 2.0]),
        lambda a: do(np.put, a.x, [0, 100], a.v, mode="clip"), lambda a: do(np.put, a.x, [5, 13], 1.0, mode="wrap"),
        lambda a: do(np.putmask, a.x, FIRST, a.x[::-1]), lambda a: do(np.putmask, a.x, FIRST, [1.0, 2.0, 3.0]),
        lambda a: do(np.put_along_axis, a.x, np.array([[1], [0], [3]]), 2.0, 1),
        lambda a: do(np.put, np.zeros(4), [0, 1], a.v[:2]), lambda a: do(np.place, np.zeros((3, 4)), FIRST, a.v),
        lambda a: do(np.putmask, np.zeros((3, 4)), FIRST, a.v),
        lambda a: do(np.put_along_axis, np.zeros((3, 4)), np.array([[1], [0], [3]]), a.v[:1], 1),
        lambda a: do(lambda t, *args: t.put(*args), a.x, [1, 2], 0.5),
    ],
    # ---- creation
    "astype": [lambda a: np.astype(a.x, np.float32)],
    "copy": [lambda a: np.copy(a.x)],
    "empty_like": [lambda a: np.empty_like(a.x).shape, lambda a: np.empty_like(a.x, dtype=np.float32).dtype],
    "full_like ones_like zeros_like": [
        lambda a: np.full_like(a.x, 2.0), lambda a: np.ones_like(a.x), lambda a: np.zeros_like(a.x, shape=(2, 2)),
        lambda a: np.zeros_like(a.x, dtype=np.float64), lambda a: np.full_like(np.zeros(4), a.v),
    ],
    "arange array asanyarray asarray ascontiguousarray asfortranarray": [
        lambda a: np.arange(5, like=a.x), lambda a: np.array([1.0, -3.0], like=a.x),
        lambda a: np.array(a.x, like=a.x), lambda a: np.asanyarray([1.0, 2.0], like=a.x),
        lambda a: np.asarray([1.0, 300.0], like=a.x), lambda a: np.asarray(a.x, like=a.x),
        lambda a: np.ascontiguousarray([1.0], like=a.x), lambda a: np.asfortranarray([[1.0]], like=a.x),
        lambda a: np.asarray([1, 2], dtype=int, like=a.x), lambda a: np.array([1.0], dtype=np.float32, like=a.x),
    ],
    "empty eye full identity ones tri zeros require": [
        lambda a: np.empty((2, 3), like=a.x).shape, lambda a: np.eye(3, 4, k=1, like=a.x),
        lambda a: np.full((2, 2), 3.0, like=a.x), lambda a: np.identity(3, like=a.x), lambda a: np.ones(3, like=a.x),
        lambda a: np.tri(3, like=a.x), lambda a: np.zeros((2, 2), like=a.x), lambda a: np.require([1.0], like=a.x),
    ],
    "frombuffer fromfile fromfunction fromiter fromstring genfromtxt loadtxt": [
        lambda a: np.frombuffer(np.array([1.0, 2.0]).tobytes(), like=a.x), lambda a: np.fromfile(a.file, like=a.x),
        lambda a: np.fromfunction(lambda i, j: i + j, (2, 3), like=a.x),
        lambda a: np.fromiter((k / 2 for k in range(4)), float, like=a.x),
        lambda a: np.fromstring("1 2 3", sep=" ", like=a.x), lambda a: np.genfromtxt(["1 2", "3 4"], like=a.x),
        lambda a: np.loadtxt(["1 2", "3 4"], like=a.x),
    ],
    "geomspace linspace logspace": [
        lambda a: np.geomspace(a.p, 20.0, 3), lambda a: np.linspace(a.v, a.w, 5),
        lambda a: np.logspace(a.v / 8, 1.0, 3),
    ],
    # ---- elements
    "around fix i0 round sinc angle": [
        lambda a: np.around(a.x / 3, 1), lambda a: np.fix(a.x / 3), lambda a: np.i0(a.x / 8), lambda a: np.round(a.x),
        lambda a: np.sinc(a.x), lambda a: np.angle(a.x), lambda a: (a.x / 3).round(2),
        lambda a: np.angle(a.x, deg=True),
    ],
    "diff ediff1d": [
        lambda a: np.diff(a.x), lambda a: np.diff(a.v, prepend=0.0), lambda a: np.diff(a.x, axis=0, append=a.x[:1]),
        lambda a: np.ediff1d(a.x), lambda a: np.ediff1d(a.v, to_begin=1.0), lambda a: np.diff(a.x, n=0),
    ],
    "imag real real_if_close": [
        lambda a: np.imag(a.x), lambda a: np.real(a.x), lambda a: np.real_if_close(a.x),
        lambda a: (a.x.real, a.x.conj()),
    ],
    "iscomplexobj isrealobj ndim shape size": [
        lambda a: (np.iscomplexobj(a.x), np.isrealobj(a.x), np.ndim(a.x), np.shape(a.x), np.size(a.x), np.size(a.x, 1)),
    ],
    "array_str array2string savetxt": [
        lambda a: np.array_str(a.x), lambda a: np.array2string(a.v), lambda a: text_of(a.x),
    ],
    "diag_indices_from tril_indices_from triu_indices_from": [
        lambda a: np.diag_indices_from(a.c), lambda a: np.tril_indices_from(a.x),
        lambda a: np.triu_indices_from(a.x, 1),
    ],
    "may_share_memory shares_memory": [
        lambda a: (np.may_share_memory(a.x, a.x[1:]), np.shares_memory(a.x, a.y), np.shares_memory(a.x[:2], a.x[1:])),
    ],
    "can_cast common_type min_scalar_type result_type": [
        lambda a: np.can_cast(a.x, np.float32) if not isinstance(a.x, np.ndarray) else False,
        lambda a: np.common_type(a.x, a.v), lambda a: np.min_scalar_type(a.x),
        lambda a: np.result_type(a.x, np.float32),
    ],
    "apply_along_axis apply_over_axes": [
        lambda a: np.apply_along_axis(np.sort, 0, a.x), lambda a: np.apply_along_axis(lambda t: t.sum(), 1, a.x),
        lambda a: np.apply_along_axis(lambda t: t[::-1][:2], 1, a.x),
        lambda a: np.apply_over_axes(np.sum, a.x, [0, 1]),
    ],
    # ---- reductions
    "max amax min amin sum prod mean": [
        *[
            call
            for f in (np.max, np.amax, np.min, np.amin, np.sum, np.prod, np.mean)
            for call in (
                lambda a, f=f: f(a.x),
                lambda a, f=f: f(a.x, axis=0),
                lambda a, f=f: f(a.x, axis=(0, 1), keepdims=True),
                lambda a, f=f: f(a.x, axis=1, where=FIRST, **({} if f is np.mean else {"initial": 1.0})),
                lambda a, f=f: f(a.x, axis=-1, out=np.empty(3)),
                lambda a, f=f: f(a.n, axis=0),
            )
        ],
        lambda a: (a.x.sum(axis=0), a.x.mean(1), a.x.min(0), a.x.max(), a.x.prod(1), a.v.sum(initial=2.0)),
        lambda a: np.mean(a.x, axis=0, dtype=np.float32),
    ],
    "all any count_nonzero ptp median std var trace": [
        lambda a: (np.all(a.x), np.any(a.x, axis=0), np.count_nonzero(a.x), np.count_nonzero(a.x, axis=1)),
        lambda a: (np.ptp(a.x), np.median(a.x, axis=1), np.std(a.x, axis=0, ddof=1), np.var(a.x), np.trace(a.x)),
        lambda a: (a.x.all(), a.x.any(1), a.x.ptp() if hasattr(a.x, "ptp") else np.ptp(a.x), a.x.std(), a.x.var(0)),
        lambda a: (a.x.trace(1), np.std(a.x, where=FIRST)),
    ],
    "average corrcoef cov percentile quantile": [
        lambda a: np.average(a.x, axis=1, weights=a.p), lambda a: np.corrcoef(a.x), lambda a: np.cov(a.x, a.y),
        lambda a: np.percentile(a.x, [10, 50], axis=0), lambda a: np.quantile(a.x, 0.3, method="nearest"),
    ],
    "nanargmax nanargmin nanmax nanmean nanmedian nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar": [
        *[
            lambda a, f=f: f(a.n, axis=1)
            for f in (
                np.nanargmax,
                np.nanargmin,
                np.nanmax,
                np.nanmean,
                np.nanmedian,
                np.nanmin,
                np.nanprod,
                np.nanstd,
                np.nansum,
                np.nanvar,
            )
        ],
        lambda a: np.nanpercentile(a.n, 40), lambda a: np.nanquantile(a.n, [0.1, 0.9], axis=0),
    ],
    "cumprod cumsum cumulative_prod cumulative_sum nancumprod nancumsum": [
        lambda a: np.cumprod(a.x), lambda a: np.cumsum(a.x, axis=1), lambda a: np.cumulative_prod(a.v),
        lambda a: np.cumulative_sum(a.v, include_initial=True), lambda a: np.nancumprod(a.n),
        lambda a: np.nancumsum(a.n, 0), lambda a: (a.x.cumsum(), a.x.cumprod(axis=0)),
    ],
    "allclose array_equal array_equiv isclose": [
        lambda a: (np.allclose(a.x, a.x), np.allclose(a.x, 0), np.array_equal(a.x, a.y), np.array_equiv(a.x, a.x[:1])),
        lambda a: (np.isclose(a.x, a.y), np.array_equal(a.n, a.n, equal_nan=True)),
    ],
    "argwhere flatnonzero nonzero iscomplex isreal isneginf isposinf": [
        lambda a: (np.argwhere(a.x), np.flatnonzero(a.x), np.nonzero(a.x), a.x.nonzero()),
        lambda a: (np.iscomplex(a.x), np.isreal(a.x), np.isneginf(a.x), np.isposinf(a.x)),
    ],
    "bincount convolve correlate digitize gradient interp searchsorted trapezoid unwrap": [
        lambda a: np.bincount(POSITIONS, weights=a.v), lambda a: np.convolve(a.v, a.w[:2], "same"),
        lambda a: np.correlate(a.v, a.w, "full"), lambda a: np.digitize(a.x, a.p), lambda a: np.gradient(a.x),
        lambda a: np.interp(a.v, a.p, a.w), lambda a: np.searchsorted(a.p, a.x), lambda a: np.trapezoid(a.x, a.p),
        lambda a: np.unwrap(a.v), lambda a: a.p.searchsorted(a.v, side="right"), lambda a: np.gradient(a.v, 2.0),
    ],
    "histogram histogram2d histogram_bin_edges histogramdd": [
        lambda a: np.histogram(a.x, 5), lambda a: np.histogram2d(a.v, a.w, 3), lambda a: np.histogram_bin_edges(a.x),
        lambda a: np.histogramdd(a.x, 2),
    ],
    # ---- products, linear algebra
    "cross dot inner kron outer vdot linalg.cross linalg.matmul linalg.multi_dot linalg.outer linalg.vecdot": [
        lambda a: np.cross(a.c, a.c[0]), lambda a: np.dot(a.x, a.v), lambda a: np.dot(a.v, a.w),
        lambda a: np.inner(a.x, a.y), lambda a: np.kron(a.c, a.v), lambda a: np.outer(a.v, a.w),
        lambda a: np.vdot(a.x, a.y), lambda a: np.linalg.cross(a.c, a.c.T), lambda a: np.linalg.matmul(a.c, a.x),
        lambda a: np.linalg.multi_dot([a.c, a.x, a.v]), lambda a: np.linalg.outer(a.v, a.w),
        lambda a: np.linalg.vecdot(a.x, a.v), lambda a: np.linalg.vecdot(a.x, a.y, axis=0), lambda a: a.x.dot(a.v),
        lambda a: np.dot(a.c, a.x, out=np.empty((3, 4))), lambda a: np.dot(a.x, np.ones(4)),
    ],
    "tensordot linalg.tensordot einsum einsum_path": [
        lambda a: np.tensordot(a.x, a.y, axes=([0, 1], [0, 1])), lambda a: np.tensordot(a.c, a.x, 1),
        lambda a: np.linalg.tensordot(a.c, a.x, axes=1), lambda a: np.einsum("ij,kj->ik", a.x, a.y),
        lambda a: np.einsum("ij->j", a.x), lambda a: np.einsum("ij,j,ik->k", a.x, a.v, a.c, optimize=True),
        lambda a: np.einsum_path("ij,jk", a.c, a.x),
    ],
    "linalg.cholesky linalg.cond linalg.det linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.inv": [
        *[
            lambda a, f=f: f(a.s)
            for f in (
                np.linalg.cholesky,
                np.linalg.cond,
                np.linalg.det,
                np.linalg.eig,
                np.linalg.eigh,
                np.linalg.eigvals,
                np.linalg.eigvalsh,
                np.linalg.inv,
            )
        ],
    ],
    "linalg.lstsq linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.norm linalg.pinv linalg.qr": [
        lambda a: np.linalg.lstsq(a.x, a.c, rcond=None), lambda a: np.linalg.matrix_norm(a.x),
        lambda a: np.linalg.matrix_power(a.c, 3), lambda a: np.linalg.matrix_rank(a.x),
        lambda a: np.linalg.norm(a.x, axis=0), lambda a: np.linalg.pinv(a.s), lambda a: np.linalg.qr(a.x),
    ],
    "linalg.slogdet linalg.solve linalg.svd linalg.svdvals linalg.tensorinv linalg.tensorsolve linalg.trace": [
        lambda a: np.linalg.slogdet(a.s), lambda a: np.linalg.solve(a.s, a.x), lambda a: np.linalg.svd(a.x),
        lambda a: np.linalg.svdvals(a.x), lambda a: np.linalg.tensorinv(a.s, ind=1),
        lambda a: np.linalg.tensorsolve(a.s, a.v[:3]), lambda a: np.linalg.trace(a.c),
    ],
    "linalg.vector_norm": [lambda a: np.linalg.vector_norm(a.x, axis=1, ord=1)],
    "poly polyadd polyder polydiv polyfit polyint polymul polysub polyval roots vander": [
        lambda a: (np.poly(a.v[:2]), np.polyadd(a.v, a.w), np.polyder(a.v), np.polydiv(a.v, a.p[:2]), np.polyint(a.v)),
        lambda a: (np.polyfit(a.p, a.v, 2), np.polymul(a.v, a.w), np.polysub(a.v, a.w), np.polyval(a.v, a.x)),
        lambda a: (np.roots(a.p), np.vander(a.v, 3)),
    ],
    "polynomial.polynomial.polygrid2d polynomial.polynomial.polyval2d": [
        lambda a: (polynomial.polygrid2d(a.v, a.w, a.c), polynomial.polyval2d(a.v, a.w, a.c)),
    ],
    "sort_complex": [lambda a: np.sort_complex(a.v)],
    "lib.scimath.arccos lib.scimath.arcsin lib.scimath.arctanh lib.scimath.log lib.scimath.log10 lib.scimath.log2 "
    "lib.scimath.logn lib.scimath.power lib.scimath.sqrt": [
        *[
            lambda a, f=f: f(a.x)
            for f in (
                scimath.arccos,
                scimath.arcsin,
                scimath.arctanh,
                scimath.log,
                scimath.log10,
                scimath.log2,
                scimath.sqrt,
            )
        ],
        lambda a: (scimath.logn(2, a.x), scimath.power(a.x, 0.5)),
    ],
    "fft.fft fft.fft2 fft.fftn fft.hfft fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.irfft fft.irfft2 fft.irfftn "
    "fft.rfft fft.rfft2 fft.rfftn": [
        *[
            lambda a, f=f: f(a.x)
            for f in (
                np.fft.fft,
                np.fft.fft2,
                np.fft.fftn,
                np.fft.hfft,
                np.fft.ifft,
                np.fft.ifft2,
                np.fft.ifftn,
                np.fft.ihfft,
                np.fft.irfft,
                np.fft.irfft2,
                np.fft.irfftn,
                np.fft.rfft,
                np.fft.rfft2,
                np.fft.rfftn,
            )
        ],
    ],
}
# fmt: on
