"""What doctests may use without importing it; everything else is in tests/conftest.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lpnum


@pytest.fixture(autouse=True)
def _names_in_doctests(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace["np"] = np
    doctest_namespace["lpnum"] = lpnum
