"""``python -m lpnum``."""

from __future__ import annotations

import pytest

import lpnum
from lpnum.cli import main


def test_formats_lists_every_named_format(capsys):
    assert main(["formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(lpnum.formats.named())
    row = next(line for line in lines if line.startswith("float8_e4m3fn "))
    assert row.split() == ["float8_e4m3fn", "8", "448", "0.00195312", "0.125", "NaN,", "-0"]


@pytest.mark.parametrize("name", ["float8_e5m2", "fixed4", "float4_e2m1fn", "ufixed8"])
def test_show_prints_every_code_and_its_value(name, capsys):
    assert main(["show", name]) == 0
    fmt = lpnum.format(name)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(code) for code, _, _ in lines] == fmt.all_codes().tolist()
    assert [bits for _, bits, _ in lines] == [f"{int(c) & (1 << fmt.bits) - 1:0{fmt.bits}b}" for c, _, _ in lines]
    for (code, _, value), exact in zip(lines, lpnum.decode(fmt.all_codes(), fmt), strict=True):
        assert float(value) == pytest.approx(float(exact), nan_ok=True), code


def test_unknown_format_suggests_near_ones(capsys):
    with pytest.raises(SystemExit) as failed:
        main(["show", "float8_e4m3"[:-1]])
    assert failed.value.code == 2
    assert "did you mean float8_e" in capsys.readouterr().err
