"""Whatever is called with whatever, the process lives, and the answer is a result or an exception as NumPy raises them.

The calls are made in child processes: see fuzz_calls.py, and fuzz_values.py for the arguments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of memory and time need a Unix system")

PROGRAM = Path(__file__).with_name("fuzz_calls.py")
PARTS = ("functions", "methods", "numpy", "kernels")


def answers(part: str, seed: int, count: int, folder: Path, seconds: float) -> dict[str, int]:
    """How often the calls of a child process ended how; a failure names the call."""
    note = folder / f"{part}-{seed}"
    work = folder / f"work-{part}-{seed}"
    work.mkdir()
    environment = {**os.environ, "MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(PROGRAM.parent.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(PROGRAM), part, str(seed), str(count), str(note)]
    options = {"env": environment, "cwd": work, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    try:
        run = subprocess.run(command, **options, stderr=subprocess.PIPE, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        pytest.fail(f"no answer within {seconds} s: {note.read_text(errors='replace').strip()}")
    if run.returncode:
        last = note.read_text(errors="replace").strip()
        pytest.fail(f"the process ended with {run.returncode} in {last}\n{run.stderr[-4000:]}")
    report = json.loads(note.read_text())
    assert not report["findings"], f"{len(report['findings'])} findings:\n" + "\n".join(report["findings"][:20])
    return report["outcomes"]


@pytest.mark.parametrize("part", PARTS)
def test_wrong_arguments_give_errors_of_the_kinds_that_numpy_raises(part, tmp_path):
    outcomes = answers(part, 0, 1000 if part in ("functions", "methods") else 1500, tmp_path, 120)
    assert outcomes["result"] > 50, "the arguments are never right: the test would not reach far"
    assert sum(outcomes.values()) > 2 * outcomes["result"], "the arguments are never wrong"


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_wrong_arguments_give_errors_for_more_of_them(part, seed, tmp_path):
    answers(part, seed + 1, 8000, tmp_path, 300)


def test_a_crash_a_leak_and_a_hang_are_noticed(tmp_path, monkeypatch):
    program = tmp_path / "fuzz_calls.py"
    monkeypatch.setattr(f"{__name__}.PROGRAM", program)
    program.write_text("import os, sys\nopen(sys.argv[4], 'w').write('the_call()')\nos.abort()\n")
    with pytest.raises(pytest.fail.Exception, match=r"ended with -6 in the_call\(\)"):
        answers("methods", 0, 1, tmp_path, 20)
    program.write_text('import sys\nopen(sys.argv[4], \'w\').write(\'{"findings": ["f()"], "outcomes": {}}\')\n')
    with pytest.raises(AssertionError, match=r"1 findings:\s+f\(\)"):
        answers("methods", 1, 1, tmp_path, 20)
    program.write_text("import sys, time\nopen(sys.argv[4], 'w').write('slow()')\ntime.sleep(30)\n")
    with pytest.raises(pytest.fail.Exception, match=r"no answer within 2 s: slow\(\)"):
        answers("methods", 2, 1, tmp_path, 2)
