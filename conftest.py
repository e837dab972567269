"""What doctests may use without importing it; everything else is in tests/conftest.py."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import lpnum

# Modules that need what is not installed: pytest imports them for their examples.
collect_ignore = []
if importlib.util.find_spec("matplotlib") is None:
    collect_ignore += ["lpnum/plotting.py", "lpnum/_plot_quantization.py"]
if importlib.util.find_spec("sklearn") is None:
    collect_ignore += ["lpnum_optim/linear_model.py", "lpnum_optim/_estimator.py"]
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["lpnum_optim/deep/*.py", "tests/deep_*.py"]
if importlib.util.find_spec("dask") is None:
    collect_ignore += ["lpnum_optim/distributed.py"]


@pytest.fixture(autouse=True)
def _names_in_doctests(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace["np"] = np
    doctest_namespace["lpnum"] = lpnum
