"""Right and wrong arguments, drawn by a seeded generator, each with the text that makes it."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

import lpnum
from lpnum._core import kernels

NAMES: dict[str, Any] = {"np": np, "lpnum": lpnum, "kernels": kernels, "Fraction": Fraction, "Decimal": Decimal}

ARRAYS = [
    "lpnum.array([0.5, -1.0, 0.25], lpnum.fixed8)",
    "lpnum.array([[0.5, -1.0], [3.0, 4.0]], lpnum.fixed8, axis=0)",
    "lpnum.array([[0.5, -1.0], [3.0, 4.0]], 'float8_e4m3fn')",
    "lpnum.array(np.arange(24.0).reshape(2, 3, 4), 'fixed16', scale=0.5, offset=3.0)",
    "lpnum.array(np.arange(8.0)[::-2], 'bfloat16')",
    "lpnum.array(2.5, lpnum.ufixed8)",
    "lpnum.zeros((0, 3))",
    "lpnum.zeros((3, 0, 2), 'float4_e2m1fn')",
    "lpnum.array([1.0, 2.0], lpnum.fixed4, offset=[1.0, -1.0], scale=[1.0, 2.0])",
    "lpnum.array([[1.0, 2.0]] * 3, 'float8_e8m0fnu').T",
    "lpnum.array(np.linspace(-4, 4, 64).reshape(2, 32), 'mxfp8_e4m3')",
    "lpnum.array(np.linspace(-4, 4, 64).reshape(2, 32), 'nvfp4')",
    "lpnum.array(np.ones((32, 3)), 'mxint8', axis=0)",
    "lpnum.array([1e300, -1e-300], lpnum.fixed8)",
]
PLAIN = [
    "[1.0, 2.0]",
    "np.arange(3)",
    "np.arange(3.0)",
    "np.ones((2, 2))",
    "np.ones((2, 3, 4), np.float32)",
    "np.zeros((0, 3))",
    "np.array(1.5)",
    "np.array([1.0, np.nan, np.inf])",
    "np.arange(6, dtype=np.int8)[::-2]",
    "np.arange(4, dtype=np.uint8).reshape(2, 2)",
    "np.arange(17, dtype=np.uint8)[1:].view(np.float64)",
    "np.array([True, False, True])",
    "np.float16([1, 2])",
    "np.frombuffer(b'abcdefgh', np.uint8)",
    "2",
    "-0.5",
]
WRONG = [
    "None",
    "'x'",
    "''",
    "b'x'",
    "np.nan",
    "np.inf",
    "-np.inf",
    "-1",
    "0",
    "True",
    "1.5",
    "1j",
    "7",
    "-9",
    "2**31",
    "2**63",
    "-2**63 - 1",
    "10**40",
    "5e-324",
    "1e308",
    "object()",
    "[]",
    "()",
    "{}",
    "{'a': 1}",
    "{1, 2}",
    "slice(None)",
    "slice(5, -5, -2)",
    "Ellipsis",
    "int",
    "np.float32",
    "np.dtype('O')",
    "np.dtype([('a', 'i1')])",
    "lambda *args: None",
    "np.array('a')",
    "np.array(['a', 'b'])",
    "np.array([None, 1], dtype=object)",
    "np.array(['2020-01-01'], 'M8[D]')",
    "np.array([3, 4], 'm8[s]')",
    "np.array([1 + 2j])",
    "np.zeros(3, [('a', 'i4'), ('b', 'f8')])",
    "np.ma.masked_array([1.0, 2.0], [True, False])",
    "np.arange(3.0).astype('>f8')",
    "np.longdouble([1, 2])",
    "[[1], [2, 3]]",
    "['a', None]",
    "[[[]]]",
    "(1, 'a')",
    "(-1, 2)",
    "(2**40, 2**40)",
    "iter([1, 2])",
    "range(3)",
    "memoryview(b'abc')",
    "bytearray(5)",
    "Fraction(1, 3)",
    "Decimal('1.1')",
    "np.str_('a')",
    "np.int8(-128)",
    "np.uint64(2**64 - 1)",
    "np.float32('nan')",
    "[np.nan] * 3",
    "np.full(40, -np.inf)",
    "'\\0'",
    "'\\ud800'",
    "'é' * 300",
    "NotImplemented",
]
FORMATS = [
    "lpnum.fixed8",
    "'fixed4'",
    "'ufixed16'",
    "'float8_e5m2'",
    "'bfloat16'",
    "lpnum.float6_e2m3fn",
    "'mxfp4'",
    "lpnum.mxint8",
    "'float8_e8m0fnu'",
    "lpnum.fixed(12, frac=3)",
    "np.float32",
    "np.int8",
    "None",
]
INTEGERS = ["0", "1", "2", "3", "4", "8", "-1", "-2", "-9", "16", "17", "100", "2**31", "-2**63", "2**63", "2**70"]
SMALL = ["0", "1", "2", "-1", "-3", "7", "1.5", "'a'"]  # where NumPy itself would loop for ever
NUMBERS = ["0.0", "1.0", "-1.0", "0.5", "1e-320", "1e308", "np.nan", "np.inf", "2", "np.arange(1.0, 3)"]
AXES = ["0", "1", "-1", "2", "-4", "100", "2**31", "2**70", "None", "(0, 1)", "(0, 0)", "()", "(0, -9)", "'0'", "0.0"]
SHAPES = [
    "3",
    "0",
    "(2, 3)",
    "()",
    "(2, 0)",
    "-1",
    "(-1,)",
    "(2, -3)",
    "2**31",
    "2**62",
    "2**63",
    "(2**32, 2**32)",
    "(2**20, 2**20)",
    "(1,) * 64",
    "(1,) * 65",
    "1.5",
    "'3'",
    "None",
    "(None,)",
    "(-1, 1)",
    "[3, 'a']",
    "(6, -1, -1)",
]
FLAGS = ["True", "False", "None", "1", "'yes'"]
DTYPES = ["None", "float", "np.float32", "np.int8", "'f2'", "complex", "object", "'U3'", "'nonsense'", "lpnum.fixed8"]
FILES = ["'file.npz'", "'file.safetensors'", "'none/there'", "''", "None", "b'file'", "5.5", "'.'", "[]", "'\\0'", "-1"]
OUT = ["None", "np.zeros(3)", "np.zeros((2, 2))", "lpnum.zeros(3)", "lpnum.zeros((2, 2), 'bfloat16')", "(None,)", "'x'"]

BY_NAME: dict[str, list[str]] = {}
for _names, _values in (
    ("dtype fmt format element scale_format spec", FORMATS + DTYPES),
    ("fmt_or_bits", FORMATS + INTEGERS),
    ("axis axes axis1 axis2 source destination", AXES),
    ("shape newshape size", SHAPES),
    ("scale offset scale_factor add_offset zero_point fill_value low high start stop nan mu unit initial", NUMBERS),
    ("bits frac exponent_bits mantissa_bits bias block precision random_bits length num seed stream N k kth", INTEGERS),
    ("rounding", ["'stochastic'", "'towards-zero'", "'nearest-even'", "'up'", "0", "None"]),
    ("overflow", ["'clamp'", "'wrap'", "'error'", "'ieee'", "'saturate'", "1", "None"]),
    ("result", ["'keep'", "'cover'", "'fit'", "'exact'", "'other'", "None"]),
    ("calibration", ["'absmax'", "'minmax'", "'rms'", "'mean'", "3", "0.0", "np.nan", "None"]),
    ("specials", ["'ieee'", "'fn'", "'fnuz'", "'none'", "'b11'"]),
    ("scale_rounding", ["'floor'", "'nearest'", "'ceil'", "'up'"]),
    ("rng", ["3", "None", "lpnum.random.CounterRNG(1)", "np.random.default_rng(0)", "-1", "2**64", "'a'"]),
    ("file path filename fid", FILES),
    ("arrays", [*ARRAYS[:3], "{'a': np.ones(2)}", "{1: np.ones(2)}", f"[{ARRAYS[0]}]", "{'../a': np.ones(1)}"]),
    ("out", OUT),
    ("keepdims where endpoint signed extended zero unsigned mmap verify copy return_grid missing", FLAGS),
    ("ddof", ["0", "1", "-1", "10**40", "0.5", "'a'"]),
    ("indices_or_sections repeats reps shift deg", SMALL),
    ("n repeat", SMALL),
    ("codes packed", ["np.arange(4, dtype=np.int8)", "np.zeros((2, 32), np.uint8)", "np.int16([1, -2])", *PLAIN]),
    (
        "order kind side mode casting",
        ["'C'", "'F'", "'K'", "'left'", "'wrap'", "'constant'", "'same_kind'", "'x'", "None"],
    ),
):
    for _name in _names.split():
        BY_NAME[_name] = _values

KEYWORDS = ("axis", "dtype", "out", "keepdims", "where", "initial", "order", "ddof", "rng", "scale", "nonsense")
INSTANCES = [
    *ARRAYS * 2,
    "lpnum.fixed8",
    "lpnum.fixed(12, frac=3)",
    "lpnum.float8_e4m3fn",
    "lpnum.minifloat(5, 10)",
    "lpnum.mxfp4",
    "lpnum.random.CounterRNG(1)",
]


def instance(rng: random.Random) -> tuple[str, Any]:
    """An object whose methods are called."""
    text = rng.choice(INSTANCES)
    return text, eval(text, NAMES)


def array(rng: random.Random) -> tuple[str, Any]:
    """An array of this package."""
    text = rng.choice(ARRAYS)
    return text, eval(text, NAMES)


def draw(rng: random.Random, name: str) -> tuple[str, Any]:
    """A value for a parameter called `name`: often of the right kind, or nearly."""
    chance = rng.random()
    if chance < 0.6:
        text = rng.choice(BY_NAME.get(name, ARRAYS + PLAIN))
    elif chance < 0.7:
        return array(rng)
    else:
        loops = BY_NAME.get(name) is SMALL
        text = rng.choice(SMALL if loops else WRONG)
    return text, eval(text, NAMES)


KERNEL_SIZES = (0, 1, 2, 3, 15, 16, 17, 31, 64, 100, 256, 1000, 65536)
ODD = ["0", "-1", "1.0", "255", "None", "2**31 - 1", "np.nan", "'x'", "b'abc'", "3", "lpnum", "bytearray(64)"]
TERMS = ["()", "((np.ones(1), np.ones(1)),)", "((np.ones(4), np.ones(3)),)", "(1, 2)", "((1,),)", "None"]
CALL_INTEGERS = ["0"] * 4 + ["1"] * 3 + ["2", "3", "4", "5", "7", "16", "32", "-1", "33", "99"]
CALL_INTEGERS += ["2**31-1", "-2**31", "2**40", "2**64-1", "2**64"]
FIELDS = ["0", "1", "3", "7", "8", "127", "128", "255", "256", "-1", "-9", "-128", "65535", "2**31-1", "-2**31", "1024"]
KERNEL_NAMES: dict[str, list[str]] = {"terms": TERMS, "name": ["'avx2'", "'baseline'", "'avx512'", "'x'"]}
for _names, _values in (
    ("op rounding overflow random_bits seed stream sign first first_index m n k", CALL_INTEGERS),
    ("code_min code_max mantissa_bits min_exponent magnitude_mask sign_mask finite_max block", FIELDS),
    ("inf_code nan_code shift tie threshold tensor_scale unit largest", ODD),
    ("is_float negative_zero zero power_of_two scale_up single count dry_run is_signed floats", ["True", "False"]),
):
    for _name in _names.split():
        KERNEL_NAMES[_name] = _values

# Buffers that fit one another often enough that the kernels themselves are reached, with codes beyond many formats.
_CODES = ["np.arange(64).astype('u1')", "np.arange(-32, 32).astype('i1')", "np.arange(64).astype('u2') << 9"]
_MATRICES = ["np.ones((4, 64), 'i1')", "np.ones((64, 4), 'u1').T", "np.arange(256).astype('u1').reshape(4, 64)"]
_GRIDS = [
    f"(np.arange(64).astype('{kind}'), {step}, 0.0, lpnum.{name}.kernel)"
    for kind, name in (("i1", "fixed8"), ("i1", "fixed4"), ("u1", "float8_e5m2"), ("u2", "bfloat16"), ("u1", "fixed16"))
    for step in ("1.0", "np.full(64, 0.5)", "1e-320")
]
_FLOATS = ["np.linspace(-500, 500, 64)", "np.linspace(0, 1, 64, dtype='f4')", "np.full(64, np.nan)", "np.ones(32)"]
KERNEL_RIGHT: dict[str, list[str]] = {
    "a": _CODES + _MATRICES + _GRIDS + _FLOATS,
    "b": ["None", *_CODES, *_MATRICES, *_GRIDS, *_FLOATS],
    "out": [
        "np.zeros((4, 4))",
        "np.zeros((4, 4), 'i4')",
        "np.zeros(4)",
        "np.zeros(64, 'u1')",
        *_CODES,
        *_GRIDS,
        *_FLOATS,
    ],
    "v": _FLOATS,
    "values": _FLOATS,
    "codes": [*_CODES, "np.zeros(32, 'u1')", "np.zeros(32, 'i1')"],
    "packed": ["np.arange(32, dtype='u1')"],
    "scales": ["np.arange(2, dtype='u1')", "np.arange(4, dtype='u1')", "np.full(2, 255, 'u1')"],
    "table": ["np.zeros(256, 'u1')", "np.zeros(65536, 'u1')"],
    "a_values": ["None", "np.ones(256, 'f4')"],
    "b_values": ["None", "np.ones(256, 'f4')"],
}


def kernel_value(rng: random.Random, name: str) -> tuple[str, Any]:
    """An argument of a compiled function: buffers of all types and layouts, formats, numbers."""
    if name in KERNEL_NAMES:
        text = rng.choice(KERNEL_NAMES[name])
    elif name in ("step_a", "step_b") and rng.random() < 0.5:
        text = "1.5"
    elif rng.random() < 0.08:
        text = rng.choice(ODD)
    elif name in ("fmt", "element", "scale", "format_a", "format_b", "format_out"):
        named = lpnum.formats.named_blocks() if name == "fmt" else lpnum.formats.named()
        text = f"lpnum.format({rng.choice(list(named))!r}).kernel"
    elif name == "packed" and rng.random() < 0.5:
        text = "True"
    else:
        return kernel_buffer(rng, name)
    return text, eval(text, NAMES)


def kernel_buffer(rng: random.Random, name: str) -> tuple[str, Any]:
    """A buffer, or codes with a grid."""
    kind = rng.choice(["i1", "u1", "u1", "i2", "u2", "f4", "f8", "f8", "i4", "i8", "c8", "?", ">f8", "f2"])
    if name == "workspace":
        text = "np.empty(40_000_000, np.uint8)" if rng.random() < 0.8 else "np.empty(100, np.uint8)"
        return text, eval(text, NAMES)
    if name in KERNEL_RIGHT and rng.random() < 0.6:
        text = rng.choice(KERNEL_RIGHT[name])
        return text, eval(text, NAMES)
    n = rng.choice(KERNEL_SIZES) if rng.random() < 0.3 else rng.choice((16, 64))
    layouts = [f"np.zeros({n}, '{kind}')"] * 4
    layouts += [
        f"np.arange({n}).astype('{kind}')",
        f"np.ones({n}, '{kind}')[::-2]",
        f"np.ones((4, {n}), '{kind}')",
        f"np.ones(({n}, 4), '{kind}').T",
        f"np.ones((4, {n}), '{kind}')[:, ::3]",
        f"np.ones((4, {n}), '{kind}')[:0]",
        f"np.zeros({n} * 16 + 1, 'u1')[1:].view('{kind}')",
        f"np.frombuffer(bytes({n} * 16), '{kind}')",
        f"np.zeros((1,) * 64, '{kind}')",
        f"np.broadcast_to(np.zeros(1, '{kind}'), ({n},))",
    ]
    text = rng.choice(layouts)
    if name in ("a", "b", "out") and rng.random() < 0.4:
        which = rng.choice([*lpnum.formats.named(), "None"])
        fmt = "None" if which == "None" else f"lpnum.format({which!r}).kernel"
        step = rng.choice(["1.0", "0.0", "np.ones(1)", "np.ones(16)", "np.nan", "np.ones(3)", "2", "np.ones(16, 'f4')"])
        text = f"({text}, {step}, {rng.choice(['0.0', step])}, {fmt})" if rng.random() < 0.95 else f"({text},)"
    return text, eval(text, NAMES)


def arguments(
    rng: random.Random, name: str, function: Any, value: Callable[[random.Random, str], tuple[str, Any]] | None
) -> tuple[list[str], list[Any], dict[str, Any]]:
    """Arguments for a call of `function`: their texts, the positional ones, the named ones."""
    value = value or draw
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    texts, args, kwargs = [], [], {}

    def add(text: str, made: Any, keyword: str | None = None) -> None:
        texts.append(text if keyword is None else f"{keyword}={text}")
        if keyword is None:
            args.append(made)
        else:
            kwargs[keyword] = made

    positional = True
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            for _ in range(rng.choice((1, 1, 2, 3, 0))):
                add(*value(rng, "x"))
            positional = False
        elif p.kind is p.VAR_KEYWORD:
            if rng.random() < 0.4:
                keyword = rng.choice(KEYWORDS)
                if keyword not in kwargs:
                    add(*value(rng, keyword), keyword)
        elif p.default is p.empty or rng.random() < 0.35:
            if p.kind is p.KEYWORD_ONLY or (p.kind is p.POSITIONAL_OR_KEYWORD and not positional):
                add(*value(rng, p.name), p.name)
            elif p.kind is p.POSITIONAL_ONLY and not positional:
                continue
            else:
                add(*value(rng, p.name))
        else:
            positional = False
    if not parameters:
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
            add(*value(rng, "x"))
        if rng.random() < 0.3:
            keyword = rng.choice(KEYWORDS)
            add(*value(rng, keyword), keyword)
    if rng.random() < 0.03:  # too few, or too many
        texts, args = (texts[1:], args[1:]) if args and rng.random() < 0.5 else (["None"] + texts, [None] + args)
    return texts, args, kwargs
