"""Problems for the general path of the epochs, and calls of the compiled epochs and of their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from lpnum._core import kernels
from lpnum_optim import _general_reference, _reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix
from lpnum_optim.grid_control import GridControl

SQUARED, LOGISTIC, SOFTMAX, HUBER = 0, 1, 2, 3
KINDS = ("int8", "uint8", "int16", "float32", "float64", "int4", "uint4")
ITERATES = ("int8", "int16", "float32", "float64")
ONLY_LOWBIT = ("code_min", "code_max", "seed", "stream")
LEVELS = range(len(kernels.simd_levels()))


def values(rng, shape, kind):
    """Random data of a kind; of 4-bit codes the unpacked ones."""
    if kind.startswith("float"):
        return rng.normal(size=shape).astype(kind)
    low, high = {"int4": (-8, 7), "uint4": (0, 15)}.get(kind, (-100, 100))
    if kind == "int16":
        low, high = -3000, 3000
    return rng.integers(max(low, np.iinfo(kind.replace("4", "8")).min), high, shape, endpoint=True).astype(
        kind.replace("4", "8")
    )


def matrix(rng, n, d, kind="float32", density=None, columns=None):
    """A DataMatrix of values of about 1, and the same matrix in float64; sparse where a density is given."""
    dense = values(rng, (n, d), kind)
    step = {"float32": 1.0, "float64": 1.0, "int16": 1e-3, "int4": 0.2, "uint4": 0.1}.get(kind, 0.02)
    if density is not None:
        dense[rng.random((n, d)) >= density] = 0
        csr = scipy.sparse.csr_matrix(dense)
        x = DataMatrix(csr.data, step, columns, None, d, csr.indices.astype(np.int32), csr.indptr.astype(np.int64))
    elif kind.endswith("t4"):
        codes = np.pad(dense, ((0, 0), (0, d % 2))).astype(np.uint8) & 15
        x = DataMatrix(codes[:, ::2] | codes[:, 1::2] << 4, step, columns, kind, d)
    else:
        x = DataMatrix(dense, step, columns)
    return x, step * dense.astype(np.float64)


def case(seed, kind="float32", loss=LOGISTIC, iterate="int8", d=50, outputs=1, density=None, steps=40, n=12, **changes):
    """Arguments of an epoch by name and the iterate it starts with."""
    rng = np.random.default_rng([seed, d, KINDS.index(kind)])
    outputs = outputs if loss == SOFTMAX else 1
    columns = np.exp(rng.normal(size=d)) if changes.pop("columns", False) else None
    x, _ = matrix(rng, n, d, kind, density, columns)
    targets = {SOFTMAX: rng.integers(0, outputs, n).astype(float), LOGISTIC: rng.choice([-1.0, 1.0], n)}.get(
        loss, rng.normal(size=n)
    )
    margins = rng.normal(size=(n, outputs))
    anchors = [_reference.loss_slopes(m, y, loss, 0.7) for m, y in zip(margins, targets, strict=True)]
    wide = iterate == "int16"
    args: dict[str, Any] = {
        "x": x, "targets": targets, "margins": margins, "anchors": np.array(anchors),
        "direction": rng.normal(size=(outputs, d)), "z_step": 0.02 / 256**wide, "step_size": 0.05, "l2": 0.0,
        "loss": loss, "samples": rng.integers(0, n, steps), "loss_parameter": 0.7 if loss == HUBER else 0.0,
        "code_min": -32768 if wide else -128, "code_max": 32767 if wide else 127,
        "seed": int(rng.integers(2**63)) * 2 + 1, "stream": d,
    }  # fmt: skip
    if changes.pop("weighted", False):
        args["weights"] = rng.uniform(0.2, 2.0, n)
    if changes.pop("shrinking", False):
        args["shrink"] = rng.uniform(0.0, 3.0, d)
    if changes.pop("intercepts", False):
        args |= {"intercept": rng.normal(size=outputs), "intercept_direction": rng.normal(size=outputs)}
        args["intercept_step"] = 0.03
    if changes.pop("centered", False):
        args["center"] = rng.normal(size=(outputs, d))
    args.update(changes)
    if iterate.startswith("float"):
        return args, rng.normal(size=(outputs, d)).astype(iterate)
    return args, rng.integers(-100, 100, (outputs, d)).astype(iterate)


def run(module, args, z, rule=None):
    """The iterate, the intercept, the report and the record of the control after an epoch of `module`."""
    z, arguments = z.copy(), dict(args)
    intercept = arguments.get("intercept")
    if intercept is not None:
        intercept = arguments["intercept"] = intercept.copy()
    positional = [arguments.pop(k) for k in ("x", "targets", "margins", "anchors", "direction")]
    z_step = arguments.pop("z_step")
    if z.dtype.kind == "f":
        for name in ONLY_LOWBIT:
            del arguments[name]
        module.float_epoch(*positional, z, **arguments)
        return z, intercept, None, None
    control = GridControl(**(rule or {}))
    report = module.lowbit_epoch(*positional, z, z_step, control=control, **arguments)
    mean = None if control.mean is None else control.mean.tolist()
    return z, intercept, report, (control.change, control.seen, control.crowding, control.runs, control.held, mean)


def assert_as_specified(args, z, rule=None):
    """The compiled epoch gives the bits of the specification at every SIMD level; returns what `run` does."""
    expected = run(_general_reference, args, z, rule)
    for level in LEVELS:
        epochs.set_simd_level(level)
        got = run(epochs, args, z, rule)
        np.testing.assert_array_equal(got[0], expected[0], err_msg=f"level {level}")
        if expected[1] is not None:
            np.testing.assert_array_equal(got[1], expected[1], err_msg=f"level {level}")
        assert got[2:] == expected[2:], level
    return expected
