"""Time to accuracy compares solvers of the same problem, each with its cheapest setting; asv's pages are complete."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

pytest.importorskip("sklearn")
pytest.importorskip("threadpoolctl")

from benchmarks import accuracy, accuracy_data, accuracy_solvers  # noqa: E402
from tools import asv_pages  # noqa: E402


@pytest.mark.parametrize("rate", [0.1, 0.7, 0.99])
@pytest.mark.parametrize("goal", [1e-2, 1e-6])
def test_search_finds_the_fewest_iterations_without_trying_them_all(rate: float, goal: float) -> None:
    tried = {0: 1.0}
    asked = 0

    def norm(k: int) -> float:
        nonlocal asked
        asked += k not in tried
        return tried.setdefault(k, rate**k)

    fewest = math.ceil(math.log(goal) / math.log(rate))
    found = accuracy_solvers.fewest(norm, goal, tried)
    assert fewest <= found <= fewest + max(1, accuracy_solvers.SEARCH_TOLERANCE * fewest + 1)
    assert asked <= 20


def test_search_for_a_second_goal_begins_where_the_first_ended() -> None:
    tried = {0: 1.0}
    first = accuracy_solvers.fewest(lambda k: tried.setdefault(k, 0.5**k), 1e-3, tried)
    second = accuracy_solvers.fewest(lambda k: tried.setdefault(k, 0.5**k), 1e-9, tried)
    assert 0.5**first <= 1e-3
    assert 0.5**second <= 1e-9
    assert (first, second) == (10, 30)


@pytest.mark.parametrize("name", list(accuracy_data.BUNDLED))
def test_codes_and_floats_are_the_same_values(name: str) -> None:
    task = accuracy_data.BUNDLED[name]()
    np.testing.assert_array_equal(task.values(np.float32), task.values(np.float64))


def test_solvers_minimize_the_same_function_and_the_table_tells_who_was_faster() -> None:
    task = accuracy_data.BUNDLED["breast-cancer"]()
    rows = accuracy.measure(task, rounds=1, limit=5, only=["SVRG float64", "saga float64", "newton-cholesky float64"])
    reached = {row.solver for row in rows if row.goal == 1e-6 and row.iterations is not None}
    assert {"HALP-8", "SVRG float64", "saga float64", "newton-cholesky float64"} <= reached
    assert all(row.norm <= row.goal and row.seconds > 0 for row in rows if row.iterations is not None)
    # Newton's method is done in the fewest iterations; were C not 1 / (n l2), its minimum would be elsewhere.
    fewest = min(rows, key=lambda row: (row.goal != 1e-6, row.iterations or math.inf))
    assert fewest.solver.startswith("newton-cholesky")
    assert [p.rival for p in accuracy.promises(rows)] == ["SVRG float", "saga", "newton"]
    lines = list(accuracy.table(task, rows))
    assert sum(line.endswith(("met", "missed")) for line in lines) == 3


def test_floor_of_a_solver_is_told_from_slow_convergence() -> None:
    slow = {k: 0.99**k for k in (0, 8, 100, 200)}
    assert not accuracy_solvers.at_floor(slow, 200)
    assert accuracy_solvers.at_floor({0: 1.0, 8: 1e-3, 50: 4e-6, 100: 4.1e-6}, 100)
    assert not accuracy_solvers.at_floor({0: 1.0, 4: 1e-3, 8: 2e-3}, 8)  # a few iterations may go astray


def test_rival_that_does_not_arrive_has_no_time_and_no_arrival_of_halp_keeps_no_promise() -> None:
    task = accuracy_data.BUNDLED["breast-cancer"]()
    halp = accuracy.Row(task.name, "HALP-8", 1e-6, 10, 0.01, 5e-7)
    saga = accuracy.Row(task.name, "saga float32", 1e-6, None, math.nan, 4e-6)
    (promise,) = accuracy.promises([halp, saga])
    assert (promise.ratio, promise.verdict) == (math.inf, "met")
    assert any("not reached, 4e-06" in line for line in accuracy.table(task, [halp, saga]))
    failed = accuracy.Row(task.name, "HALP-8", 1e-6, None, math.nan, 1e-3)
    (promise,) = accuracy.promises([failed, saga])
    assert promise.verdict == "missed"


def test_fit_beyond_the_limit_is_told_from_one_that_made_no_progress() -> None:
    task = accuracy_data.BUNDLED["breast-cancer"]()
    rows = accuracy.measure(task, rounds=1, limit=0.0, only=["saga float64"], goals=(1e-12,))
    assert [(row.solver, row.goal, row.iterations) for row in rows] == [
        ("HALP-8", 1e-12, None), ("saga float64", 1e-12, None)
    ]  # fmt: skip
    assert all(row.spent > 0 and math.isnan(row.seconds) for row in rows)
    assert sum("not in 0 s" in line for line in accuracy.table(task, rows)) == 2


def test_softmax_is_compared_with_the_newton_method_that_makes_no_hessian() -> None:
    binary = accuracy_data.BUNDLED["breast-cancer"]()
    several = binary._replace(y=np.arange(len(binary.y)) % 3.0, loss="softmax")
    for task, newton in ((several, "newton-cg"), (binary, "newton-cholesky")):
        names = [solver.name for solver in accuracy_solvers.solvers(task)]
        assert [name for name in names if "newton" in name] == [f"{newton} float32", f"{newton} float64"]


def test_unknown_data_set_is_named_with_those_that_exist() -> None:
    with pytest.raises(SystemExit, match=r"no data set iris; there are digits"):
        list(accuracy_data.tasks(None, ["iris"]))


# --- asv's pages -----------------------------------------------------------------------------------------------------

INDEX = """<script src="https://code.jquery.com/jquery-3.3.1.min.js" integrity="x" crossorigin="anonymous"></script>
<script src="https://example.org/unknown.js"></script><link href="asv.css" rel="stylesheet"/>"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "html"
    (folder / "graphs/summary").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "asv.css").write_text("")
    for name in ("info.json", "regressions.json"):
        (folder / name).write_text("{}")
    (folder / "index.json").write_text('{"benchmarks": {"a.time_x": {}, "a.time_without_results": {}}}')
    (folder / "graphs/summary/a.time_x.json").write_text("[[1, 2.0]]")
    return folder


def test_pages_load_their_libraries_from_beside_them(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def fetch(package: str, path: str) -> bytes:
        asked.append((package, path))
        return b"jQuery"

    for _ in range(2):  # asv publishes into an empty folder; what was fetched once is kept
        (pages / "index.html").write_text(INDEX)
        assert asv_pages.embed_libraries(pages, pages.parent / "kept", fetch) == ["https://example.org/unknown.js"]
    assert asked == [("jquery@3.3.1", "dist/jquery.min.js")]
    assert '<script src="libraries/jquery-3.3.1-jquery.min.js"></script>' in (pages / "index.html").read_text()
    assert (pages / "libraries/jquery-3.3.1-jquery.min.js").read_bytes() == b"jQuery"
    assert "unknown.js stays where it is" in capsys.readouterr().err
    assert asv_pages.check(pages) == (1, [])


def test_pages_without_npm_keep_their_addresses(pages: Path) -> None:
    def fetch(package: str, path: str) -> bytes:
        raise OSError("npm is not installed")

    assert len(asv_pages.embed_libraries(pages, pages.parent / "kept", fetch)) == 2
    assert (pages / "index.html").read_text() == INDEX


@pytest.mark.parametrize("damage", ["asv.css", "index.json", "graphs/summary/a.time_x.json"])
def test_missing_or_damaged_file_of_the_pages_is_found(pages: Path, damage: str) -> None:
    (pages / damage).unlink()
    assert asv_pages.check(pages)[1]
    (pages / damage).write_text("{" if damage.endswith("json") else "")
    assert bool(asv_pages.check(pages)[1]) == damage.endswith("json")
