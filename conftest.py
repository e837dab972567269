"""What doctests may use without importing it; everything else is in tests/conftest.py."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import lpnum

# Docstrings whose examples draw.
if importlib.util.find_spec("matplotlib") is None:
    collect_ignore = ["lpnum/plotting.py", "lpnum/_plot_quantization.py"]


@pytest.fixture(autouse=True)
def _names_in_doctests(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace["np"] = np
    doctest_namespace["lpnum"] = lpnum
