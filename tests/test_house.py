"""The project's own promises: commands, dependencies, version, benchmarks that run, errors that name the extra."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKE = shutil.which("make")

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMPILED = (
    "lpnum._core.kernels", "lpnum._core.blocks", "lpnum._core.products", "lpnum_optim._core.epochs",
    "lpnum_optim._moments.adam",
)  # fmt: skip


def run(
    *command: str, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command with the environment extended by ``env``; its output is text."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )


def python(source: str, *, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter in which the blocked packages cannot be imported."""
    block = f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
    return run(sys.executable, "-W", "error", "-c", block + textwrap.dedent(source))


def make_targets() -> dict[str, str]:
    """The targets that bare ``make`` lists, with their one-line descriptions."""
    return dict(re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(), flags=re.M))


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_command_in_the_documents_is_a_target(document: str) -> None:
    commands = re.findall(r"(?:`|^|step )make ([a-z-]+)", (ROOT / document).read_text(), flags=re.M)
    assert {"test", "demo"} <= set(commands)
    assert set(commands) <= set(make_targets())


def test_readme_fenced_shell_commands_are_targets_and_nothing_else() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert "make demo" in lines
    assert "make test" in lines
    for line in lines:
        assert re.fullmatch(r"make [a-z-]+", line), line
        assert line.split()[1] in make_targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_examples_in_the_documents_hold(document: Path) -> None:
    # One program per document, in the order of the text; a block that says "python needs LIBRARY" only where it is
    # there. (pytest's own collection of .md files would take the closing fence for output.)
    fences = re.findall(r"^```python(?: needs ([\w ]+))?\n(.*?)^```", document.read_text(), flags=re.M | re.S)
    blocks = [block for needs, block in fences if all(importlib.util.find_spec(name) for name in needs.split())]
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, document.name, str(document), 0)
    assert len(examples.examples) == sum(block.count(">>> ") for block in blocks)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert not report, "".join(report)


def test_links_in_the_documents_lead_to_files() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


@pytest.mark.skipif(MAKE is None, reason="needs make")
def test_bare_make_lists_the_targets() -> None:
    result = run(str(MAKE))
    assert result.returncode == 0
    for name, description in make_targets().items():
        assert re.search(rf"^  make {name} +{re.escape(description)}$", result.stdout, flags=re.M), name


@pytest.mark.skipif(MAKE is None or os.name == "nt", reason="needs make and a POSIX shell")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("interpreter", r"no /nonexistent/python3 found; install Python 3\.11"),
        ("compiler", r"no working C compiler \(tried /nonexistent/cc\).*apt-get install build-essential"),
        ("version", r"found Python 3\.9 .* needs 3\.11 or newer; name another: make PYTHON="),
        ("venv", r"cannot create virtual environments .*apt-get install python3-venv"),
        ("headers", r"no Python\.h in /nonexistent.*apt-get install python3-dev"),
    ],
)
def test_a_machine_that_lacks_something_gets_one_line_that_says_what_to_install(
    spoil: str, message: str, tmp_path: Path
) -> None:
    fakes = {
        "version": "import sys; sys.version_info = (3, 9, 2, 'final', 0)",
        "venv": "import sys; sys.modules['ensurepip'] = None",
        "headers": "import sysconfig; real = sysconfig.get_paths; "
        "sysconfig.get_paths = lambda *args, **options: {**real(*args, **options), 'include': '/nonexistent'}",
    }
    interpreter = tmp_path / "python3"
    script = fakes.get(spoil, "pass") + "; import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}" "$@"\n')
    interpreter.chmod(0o755)
    result = run(
        str(MAKE),
        "test",
        f"VENV={tmp_path / 'venv'}",
        f"PYTHON={'/nonexistent/python3' if spoil == 'interpreter' else interpreter}",
        env={"CC": "/nonexistent/cc"} if spoil == "compiler" else {"MAKEFLAGS": ""},
    )
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2
    assert re.search(message, lines[0]), result.stderr
    assert [line for line in lines[1:] if not line.startswith("make")] == []
    assert not (tmp_path / "venv").exists()


def test_the_machine_check_parses_on_the_interpreters_it_turns_away() -> None:
    # Python 2.7's grammar cannot be had here; its newest offender would be an f-string or an annotation.
    source = (ROOT / "tools/check_machine.py").read_text()
    assert not re.search(r"""\bf["']|->|:=|^from __future__|print\s""", source, flags=re.M)


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs/api.rst").read_text()
    own, trained = text.split(".. currentmodule:: lpnum_optim")
    for name in (*importlib.import_module("lpnum").__all__, "linalg", "testing"):
        assert re.search(rf"\b{name}\b", own), name
    for module in ("formats", "linalg", "plotting", "random", "scaling", "testing"):
        for name in importlib.import_module(f"lpnum.{module}").__all__:
            assert re.search(rf"^   ({module}\.)?{name}$", own, flags=re.M) or name.isupper(), f"{module}.{name}"
    for name in importlib.import_module("lpnum_optim").__all__:
        assert re.search(rf"^   {name}$|``{name}``", trained, flags=re.M), name


# --- the package -----------------------------------------------------------------------------------------------------


def test_version_is_stated_once() -> None:
    lpnum = importlib.import_module("lpnum")
    assert importlib.metadata.version("lpnum") == PROJECT["version"]
    assert lpnum.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


OPTIONAL = ("scipy", "sklearn", "tqdm", "matplotlib", "torch", "Cython", "setuptools", "pytest", "hypothesis", "dask")
OPTIONAL += ("distributed", "xarray", "pandas")


def test_importing_lpnum_needs_numpy_alone() -> None:
    result = python(
        """
        before = set(sys.modules)
        import numpy as np, lpnum
        x = lpnum.array([0.5, -1.0, 0.25], dtype=lpnum.fixed8)
        x -= np.array([0.25, 0.25, 0.25])
        foreign = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
        print(sorted(name for name in foreign if not name.startswith("_")))
        """,
        blocked=OPTIONAL,
    )
    assert result.returncode == 0, result.stderr
    loaded = set(re.findall(r"'(\w+)'", result.stdout))
    assert loaded <= {"lpnum", "numpy", "cython_runtime"}, loaded


def test_importing_lpnum_optim_loads_no_optional_package() -> None:
    result = python("import lpnum_optim", blocked=OPTIONAL)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("blocked", "call", "extra"),
    [
        ("sklearn", "from lpnum_optim.datasets import digits; digits()", "optim"),
        ("sklearn", "from lpnum_optim.datasets import breast_cancer; breast_cancer()", "optim"),
        ("tqdm", "from lpnum_optim import *; minimize(FiniteSum([[1.0], [2.0]], [1.0, 2.0]), progress=True)", "optim"),
        ("matplotlib", "from lpnum_optim.plotting import plot_comparison; plot_comparison([])", "plot"),
        ("matplotlib", "import lpnum; lpnum.plotting.number_line('fixed8')", "plot"),
        ("matplotlib", "import lpnum; lpnum.plotting.rounding_error('fixed8')", "plot"),
        ("matplotlib", "import lpnum; x = lpnum.ones(3); lpnum.plotting.quantization([1, 1, 1], x)", "plot"),
        ("ml_dtypes", "import lpnum; lpnum.to_ml_dtypes(lpnum.ones(2, 'bfloat16'))", "interop"),
        ("torch", "import lpnum; lpnum.to_torch(lpnum.ones(2))", "torch"),
        ("torch", "import lpnum; lpnum.from_torch(0)", "torch"),
        ("torch", "import lpnum_optim.deep", "torch"),
        ("hypothesis", "from lpnum.testing import formats; formats()", "test"),
    ],
)
def test_a_missing_optional_package_is_an_error_that_names_the_extra(blocked: str, call: str, extra: str) -> None:
    result = python(call, blocked=(blocked,))
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), result.stderr
    assert f"lpnum[{extra}]" in last
    assert extra in PROJECT["optional-dependencies"]


@pytest.mark.parametrize("module", COMPILED)
def test_docstrings_of_compiled_modules_hold(module: str) -> None:
    # pytest collects no doctests from extension modules; doctest itself finds them.
    assert doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.parametrize("module", COMPILED)
def test_compiled_modules_have_stubs_for_every_public_function(module: str) -> None:
    loaded = importlib.import_module(module)
    stub = (ROOT / (module.replace(".", "/") + ".pyi")).read_text()
    for name in vars(loaded):
        if not name.startswith("_") and callable(getattr(loaded, name)) and not isinstance(getattr(loaded, name), type):
            assert re.search(rf"^def {name}\(", stub, flags=re.M), name


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the version history")
def test_no_product_is_tracked() -> None:
    tracked = run("git", "ls-files").stdout.split()
    assert "Makefile" in tracked
    generated = {name[: -len("pyx")] + "c" for name in tracked if name.endswith(".pyx")}
    assert generated
    assert generated.isdisjoint(tracked)
    pictures = {name for name in tracked if re.fullmatch(r"docs/images/\w+\.png", name)}  # of the documents, and small
    assert all((ROOT / name).stat().st_size < 60_000 for name in pictures)
    results = {name for name in tracked if re.fullmatch(r"docs/results/[\w-]+\.csv", name)}  # what a page tells of
    assert all((ROOT / name).stat().st_size < 60_000 for name in results)
    golden = {name for name in tracked if name.startswith("tests/golden/")}  # files that must load for ever
    products = [name for name in tracked if re.search(r"\.(so|o|pyc|npz|npy|csv|png|whl)$", name)]
    assert not set(products) - pictures - results - golden


def test_wheel_packages_are_all_packages_of_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("lpnum", "lpnum_optim")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed) == present
