"""What works on LPArrays, as a document: the table of NumPy's ufuncs, and ``docs/coverage.md`` made from both tables.

``python -m lpnum._coverage > docs/coverage.md`` writes it anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lpnum import _array_functions

GROUPS = {
    "handled": "keeps the format (or answers about shape and type)",
    "generic": "keeps the format: works through another function, or moves codes and metadata alike",
    "wide": "returns plain arrays or numbers",
    "refused": "raises TypeError naming the way out",
}


class UfuncRow(NamedTuple):
    """Ufuncs that are treated alike; the rules are in `lpnum._ufunc_call` and `lpnum._ufuncs`."""

    group: str
    what: str
    names: str


UFUNCS = (
    UfuncRow(
        "handled",
        "arithmetic: one fused kernel; scalars and plain arrays that scale or shift enter exactly",
        "add divide multiply subtract",
    ),
    UfuncRow(
        "handled",
        "exact: scale and offset change, codes do not",
        "conjugate deg2rad degrees ldexp negative positive rad2deg radians",
    ),
    UfuncRow("handled", "one of the inputs: equal grids are kept", "fmax fmin maximum minimum"),
    UfuncRow(
        "generic",
        "float64 results rounded once onto the grid that covers the images of all codes",
        "_ones_like absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil clip copysign cos cosh "
        "exp exp2 expm1 fabs float_power floor floor_divide fmod heaviside hypot log log10 log1p log2 "
        "logaddexp logaddexp2 nextafter power reciprocal remainder rint sign sin sinh spacing sqrt "
        "square tan tanh trunc",
    ),
    UfuncRow(
        "generic",
        "two outputs, each with a grid of its own; integers (the exponents of frexp) are plain",
        "divmod frexp modf",
    ),
    UfuncRow("wide", "comparisons: plain booleans", "equal greater greater_equal less less_equal not_equal"),
    UfuncRow(
        "wide",
        "tests: plain booleans",
        "isfinite isinf isnan logical_and logical_not logical_or logical_xor signbit",
    ),
    UfuncRow("wide", "products with a wide accumulator", "matmul matvec vecdot vecmat"),
    UfuncRow(
        "refused",
        "integers, bits and dates",
        "bitwise_and bitwise_count bitwise_or bitwise_xor gcd invert isnat lcm left_shift right_shift",
    ),
    UfuncRow(
        "refused",
        "text",
        "_center _expandtabs _expandtabs_length _ljust _lstrip_chars _lstrip_whitespace _partition _partition_index "
        "_replace _rjust _rpartition _rpartition_index _rstrip_chars _rstrip_whitespace _slice _strip_chars "
        "_strip_whitespace _zfill count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric "
        "isspace istitle isupper rfind rindex startswith str_len",
    ),
)


_HEAD = """\
# What works on an LPArray

Made by `python -m lpnum._coverage` from the table by which functions are dispatched (`lpnum/_array_functions.py`) and
that of the ufuncs (`lpnum/_coverage.py`). Tests call every function and ufunc that is listed here, compare it with
NumPy's result on the values, and fail when NumPy adds one that is not listed.
"""

_TAIL = """\
## Methods of ufuncs

`reduce`, `accumulate` and `reduceat` are evaluated in float64 (sums of fixed point in integers) and return plain arrays
of the value dtype; `outer` is the ufunc itself on all pairs; `at` accumulates in float64 what comes to an element, and
rounds it once. `out=`, `where=`, `axis=`, `keepdims=`, `initial=` and `dtype=` are as in NumPy; `where=` without `out=`
computes the selected elements only and leaves the others at code 0.

## Never an LPArray

NumPy does not ask an array class in these, and takes `np.asarray(x)`, the plain values: `np.asarray`, `np.array`,
`np.ascontiguousarray`, `np.full(n, x)`, `np.array([x, x])`, `y[:] = x` and methods of a plain array `y`, `np.nditer`,
`np.vectorize`, `np.ma`, `np.matrix`, random generators, and the classes of `np.polynomial`.
"""


def _section(title: str, rows: Any) -> list[str]:
    lines = [f"## {title}", "", "| group | what happens | names |", "|---|---|---|"]
    for group in GROUPS:
        for row in rows:
            if row.group == group:
                shown = " ".join(f"`{name}`" for name in sorted(row.names.split()) if not name.startswith("_"))
                lines.append(f"| {group} | {row.what} | {shown} |")
    return [*lines, ""]


def markdown() -> str:
    """The text of ``docs/coverage.md``."""
    counts = {
        group: [
            sum(len(r.names.split()) for r in rows if r.group == group) for rows in (UFUNCS, _array_functions.TABLE)
        ]
        for group in GROUPS
    }
    lines = [_HEAD, "| group | meaning | ufuncs | functions |", "|---|---|--:|--:|"]
    for group, meaning in GROUPS.items():
        lines.append(f"| {group} | {meaning} | {counts[group][0]} | {counts[group][1]} |")
    lines += ["", "(A module with `.*` counts as one.)", ""]
    lines += _section("Ufuncs", UFUNCS)
    lines += _section("Functions (`np.` in front)", _array_functions.TABLE)
    return "\n".join([*lines, _TAIL])


if __name__ == "__main__":
    print(markdown(), end="")
