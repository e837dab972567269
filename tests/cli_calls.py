"""Calls of the command line within the process."""

from __future__ import annotations

from typing import Any

from lpnum.cli import main


def lines_of(capsys: Any, *arguments: str) -> list[str]:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()
