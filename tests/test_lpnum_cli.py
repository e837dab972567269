"""`python -m lpnum formats` and `show`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_calls import lines_of

import lpnum
from lpnum import formats
from lpnum._listing import bits, format_table, parse_format
from lpnum.cli import main

DOCS = Path(__file__).resolve().parent.parent / "docs"


# ---- formats ---------------------------------------------------------------------------------------------------------


def table_of_formats(capsys):
    """The lines of the first table that ``formats`` prints; block formats follow after an empty line."""
    lines = lines_of(capsys, "formats")
    return lines[: lines.index("")]


def test_formats_lists_every_named_format(capsys):
    lines = table_of_formats(capsys)
    assert [line.split()[0] for line in lines[1:]] == list(lpnum.formats.named())
    row = next(line for line in lines if line.startswith("float8_e4m3fn "))
    assert row.split() == ["float8_e4m3fn", "8", "448", "0.015625", "0.00195312", "0.125", "NaN,", "-0"]


def test_the_numbers_of_the_table_are_those_of_all_values(capsys):
    for line in table_of_formats(capsys)[1:]:
        name, width, largest, normal, subnormal, eps = line.split()[:6]
        fmt = lpnum.format(name)
        values = lpnum.decode(fmt.all_codes(), fmt, np.float64)
        finite = np.unique(values[np.isfinite(values)])
        assert int(width) == fmt.bits
        assert float(largest) == pytest.approx(finite[-1], rel=1e-5)
        assert float(eps) == pytest.approx(finite[np.searchsorted(finite, 1.0) + 1] - 1.0, rel=1e-5)
        positive, gaps = finite[finite > 0], np.diff(finite[finite >= 0])
        if normal == "-":
            assert isinstance(fmt, lpnum.FixedFormat)
        elif subnormal == "-":
            assert float(normal) == pytest.approx(positive[0], rel=1e-5)
        else:  # below the smallest normal value the distances are those just above it
            assert float(subnormal) == pytest.approx(positive[0], rel=1e-5)
            spacing = positive[0]
            first_wider = positive[np.argmax(gaps > spacing)]
            assert float(normal) == pytest.approx(first_wider / 2, rel=0.51)
            assert (gaps[finite[finite >= 0][:-1] < float(normal)] == spacing).all()
        listed = line.split(None, 6)[6]
        assert ("NaN" in listed) == bool(np.isnan(values).any())
        assert ("inf" in listed) == bool(np.isinf(values).any())
        assert ("-0" in listed) == bool(((values == 0) & np.signbit(values)).any())


def test_formats_takes_names_and_calls(capsys):
    lines = lines_of(capsys, "formats", "fixed4", "p3109(8, 4)", "lpnum.minifloat(4, 3, 4)", "fixed(8, frac=4)")
    assert [re.split(r"\s{2,}", line)[0] for line in lines[1:]] == [
        "fixed4",
        "p3109(8, 4)",
        "minifloat(4, 3, 4, 'ieee')",
        "fixed(8, frac=4)",
    ]


@pytest.mark.parametrize("fmt", [*formats.named().values(), lpnum.p3109(6, 3, extended=False), lpnum.fixed(5, -2)])
def test_the_repr_of_a_format_is_read_back(fmt):
    assert parse_format(repr(fmt)) == fmt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("float8_e4m", "did you mean float8_e"),
        ("minifloat(4)", "mantissa_bits"),
        ("minifloat(40, 3)", "3 to 16 are allowed"),
        ("p3109(8, 4", "p3109(8, 4"),
        ("fixed(__import__('os'))", "malformed"),
        ("eval('1')", "makes no format"),
        ("fixed(8) + fixed(8)", "not one call"),
    ],
)
def test_an_unknown_format_ends_with_code_2_and_what_is_wrong(text, message, capsys):
    for command in (["show", text], ["formats", text], ["quantize", "a.npy", "b.npz", "--format", text]):
        with pytest.raises(SystemExit) as failed:
            main(command)
        assert failed.value.code == 2
        assert message in capsys.readouterr().err


def test_formats_lists_the_block_formats_below_the_others(capsys):
    assert main(["formats"]) == 0
    single, blocks = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert single == format_table()
    rows = [line.split() for line in blocks.splitlines()[1:]]
    assert [row[0] for row in rows] == list(lpnum.formats.named_blocks())
    for name, each, element, block, scale, rounding, _ in rows:
        fmt = lpnum.format(name)
        assert (float(each), int(block), rounding) == (fmt.bits_per_element, fmt.block, fmt.scale_rounding)
        assert scale == fmt.scale_format.name
        assert element == fmt.element.name


def test_the_page_on_formats_shows_the_table_that_the_command_prints():
    page = (DOCS / "formats.md").read_text()
    blocks = re.findall(r"^```text\n(.*?)\n```", page, flags=re.M | re.S)
    assert format_table() in blocks


# ---- show ------------------------------------------------------------------------------------------------------------


def rows(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines if re.match(r" *-?\d+  0x", line)]


@pytest.mark.parametrize("name", ["float8_e5m2", "fixed4", "float4_e2m1fn", "ufixed8", "float8_e8m0fnu"])
def test_show_prints_every_code_and_its_value(name, capsys):
    fmt = lpnum.format(name)
    shown = rows(lines_of(capsys, "show", name))
    mask = (1 << fmt.bits) - 1
    assert [int(row[0]) for row in shown] == fmt.all_codes().tolist()
    assert [int(row[1], 16) for row in shown] == [int(code) & mask for code in fmt.all_codes()]
    assert [int(row[2].replace("_", ""), 2) for row in shown] == [int(code) & mask for code in fmt.all_codes()]
    exact = lpnum.decode(fmt.all_codes(), fmt, np.float64)
    printed = np.array([float(row[3]) for row in shown])
    np.testing.assert_array_equal(printed, exact)  # the decimals read back as the value, to the last bit
    np.testing.assert_array_equal(np.signbit(printed), np.signbit(exact))


def test_show_names_the_class_of_every_value(capsys):
    kinds = {row[0]: row[4] for row in rows(lines_of(capsys, "show", "float8_e5m2"))}
    assert (kinds["0"], kinds["1"], kinds["4"], kinds["124"], kinds["125"]) == (
        "zero",
        "subnormal",
        "normal",
        "inf",
        "NaN",
    )


def test_bits_show_the_fields():
    assert bits(0b1_0111_101, lpnum.float8_e4m3fn) == "1_0111_101"
    assert bits(0x7F, lpnum.float8_e8m0fnu) == "01111111"
    assert bits(-1, lpnum.fixed(6, frac=2)) == "1111.11"
    assert bits(5, lpnum.fixed(6, frac=8)) == "000101"


@pytest.mark.parametrize(("limit", "first", "last"), [("10", 5, 5), ("7", 4, 3), ("1", 1, 0)])
def test_show_prints_the_ends_of_a_long_list_and_counts_the_rest(limit, first, last, capsys):
    lines = lines_of(capsys, "show", "float16", "--limit", limit)
    codes = [int(row[0]) for row in rows(lines)]
    assert codes == [*range(first), *range(65536 - last, 65536)]
    assert f"{65536 - first - last} more" in "\n".join(lines)


def test_show_lists_256_codes_of_a_16_bit_format_unless_told_otherwise(capsys):
    assert len(rows(lines_of(capsys, "show", "bfloat16"))) == 256
    assert len(rows(lines_of(capsys, "show", "bfloat16", "--limit", "0"))) == 65536


def test_show_takes_a_range_of_codes_or_of_values(capsys):
    assert [int(row[0]) for row in rows(lines_of(capsys, "show", "float16", "--codes", "0x3c00:0x3c02"))] == [
        15360,
        15361,
        15362,
    ]
    assert [int(row[0]) for row in rows(lines_of(capsys, "show", "fixed8", "--codes=:-126"))] == [-128, -127, -126]
    values = [float(row[3]) for row in rows(lines_of(capsys, "show", "float8_e4m3fn", "--values=-1:1"))]
    every = lpnum.float8_e4m3fn.code_values
    assert values == every[np.abs(every) <= 1].tolist()
    assert rows(lines_of(capsys, "show", "fixed8", "--values", "0.2:0.8")) == []


@pytest.mark.parametrize("option", ["--codes=1", "--codes=a:b", "--values=1:inf", "--limit=-1", "--limit=x"])
def test_show_refuses_a_range_that_is_none(option, capsys):
    with pytest.raises(SystemExit) as failed:
        main(["show", "fixed8", option])
    assert failed.value.code == 2
    assert "argument --" in capsys.readouterr().err


def test_a_reader_that_stops_early_causes_no_traceback():
    command = f"{sys.executable} -m lpnum show float16 --limit 0 | head -n 2"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == ""


def test_show_draws_the_number_line(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    picture = tmp_path / "line.png"
    lines_of(capsys, "show", "float8_e4m3fn", "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [picture]
    with pytest.raises(SystemExit) as failed:
        main(["show", "float8_e4m3fn", "--plot", "line.doc"])
    assert failed.value.code == 2
    assert ".png" in capsys.readouterr().err
