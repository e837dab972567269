# Everything runs in a virtual environment made by the standard library: nothing but python3, a C compiler and make
# is needed beforehand. POSIX sh and GNU make 3.81 are enough (macOS ships that one).
#
# Files $(VENV)/stamp-* record what has been done; a target redoes only what its prerequisites made stale.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BASE ?= HEAD~1
COMMITS ?= HEAD~2..HEAD

PY = $(VENV)/bin/python
PIP = $(PY) -m pip --quiet --disable-pip-version-check
SOURCES := $(wildcard lpnum/_core/*.pyx lpnum/_core/*.pxd lpnum/_core/*.h lpnum_optim/_core/*.pyx \
    lpnum_optim/_core/*.pxd lpnum_optim/_core/*.h lpnum_optim/_moments/*.pyx lpnum_optim/_moments/*.pxd \
    lpnum_optim/_moments/*.h)
# Cython writes NAME.c beside NAME.pyx: a product, although it ends like a source.
GENERATED := $(patsubst %.pyx,%.c,$(filter %.pyx,$(SOURCES)))
COMPILED = lpnum._core.kernels lpnum._core.blocks lpnum._core.products lpnum_optim._core.epochs \
    lpnum_optim._moments.adam
SOURCES += $(filter-out $(GENERATED),$(wildcard lpnum/_core/*.c lpnum_optim/_core/*.c lpnum_optim/_moments/*.c))

.SUFFIXES:
.DELETE_ON_ERROR:
# pip and the compiler write into one environment: with `make -j` the steps still go one after the other.
.NOTPARALLEL:
.PHONY: help demo test test-all check sanitize bench bench-accuracy bench-quick bench-html bench-compare docs clean FORCE

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=$(PYTHON) (the interpreter to start from)  VENV=$(VENV)  ARGS='options for the command that is run'"
	@echo "  BASE=$(BASE) (bench-compare: the commit before)  COMMITS=$(COMMITS) (bench-html: what asv measures)"

demo: $(VENV)/stamp-build $(VENV)/stamp-with-optim,plot ## train on real data in 8 bits; writes demo/convergence.png and .csv
	@$(PY) -m lpnum_optim compare $(ARGS)

test: $(VENV)/stamp-build $(VENV)/stamp-with-optim,test ## run the tests (parts that need other extras are skipped, with a reason)
	@$(PY) -m pytest $(ARGS)

test-all: $(VENV)/stamp-build $(VENV)/stamp-with-all,test $(VENV)/stamp-torch ## run slow tests too, with every optional extra installed
	@$(PY) -m pytest -m "not long" $(ARGS)

# About 25 minutes of one processor: a quarter are 20,000,000 bit patterns per 8-bit float format, each in every rounding
# mode, policy and SIMD level. Every test ends within a minute; the slowest are listed, so that it stays that way.
check: $(VENV)/stamp-build $(VENV)/stamp-with-all,dev,test $(VENV)/stamp-torch ## lint, check types and stubs, sanitize, and test at length: all tests, 20 seeds, random examples
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m mypy.stubtest --concise --mypy-config-file pyproject.toml --ignore-disjoint-bases \
	    --allowlist tools/stubtest_allowlist.txt $(COMPILED)
	@$(PY) tools/sanitize.py
	@$(PY) -m pytest -m "" --seeds 20 --hypothesis-profile long --durations 15 $(ARGS)

# A build of its own in build/sanitize; make sanitize ARGS="-k codec" runs fewer tests.
sanitize: $(VENV)/stamp-build $(VENV)/stamp-with-optim,test ## run tests of the C kernels under AddressSanitizer and UBSan
	@$(PY) tools/sanitize.py $(ARGS)

# The floating-point baselines must run at their best: an OpenBLAS kernel pinned in the environment is released here.
bench: $(VENV)/stamp-build $(VENV)/stamp-with-optim ## print the speed ratios with their targets
	@unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE; $(PY) -m benchmarks.ratios $(ARGS)

# ARGS="--data-dir FOLDER" takes MNIST and other public data from files; without it data that scikit-learn bundles.
bench-accuracy: $(VENV)/stamp-build $(VENV)/stamp-with-optim ## print the time to accuracy of HALP-8 and of other solvers
	@unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE; $(PY) -m benchmarks.accuracy $(ARGS)

# asv asks for a description of the machine once and keeps it in HOME: it gets a HOME of its own.
WITH_ASV = mkdir -p $(VENV)/asv-home && HOME="$$PWD/$(VENV)/asv-home" && export HOME && $(PY) -m asv machine --yes > /dev/null

bench-quick: $(VENV)/stamp-build $(VENV)/stamp-with-bench,optim ## run every asv benchmark once, so that none rots
	@$(WITH_ASV) && \
	    $(PY) -m asv check -E existing && \
	    $(PY) -m asv run -E existing --quick --show-stderr --dry-run $(ARGS)

# asv builds each commit in an environment of its own, in .asv/env, and keeps what it measured in .asv/results. Its exit
# code 2 says that benchmarks failed: older commits do not have everything; the other results are published.
bench-html: $(VENV)/stamp-build $(VENV)/stamp-with-bench,optim ## measure the commits COMMITS and publish the history, .asv/html/index.html
	@$(WITH_ASV) && \
	    { $(PY) -m asv run --skip-existing $(ARGS) $(COMMITS) || test $$? -eq 2; } && \
	    $(PY) -m asv publish && \
	    $(PY) tools/asv_pages.py .asv/html

# The settings are explained, with their rate of false alarms, in docs/performance.md.
bench-compare: $(VENV)/stamp-build $(VENV)/stamp-with-bench,optim ## tell what became slower or faster since BASE; fails if anything became slower
	@$(WITH_ASV) && \
	    $(PY) -m asv continuous --interleave-rounds --factor 1.5 --only-changed $(ARGS) $(BASE) HEAD

# Everything anew each time (some 15 s): a page that was built before would not warn again.
docs: $(VENV)/stamp-build $(VENV)/stamp-with-docs $(VENV)/stamp-torch ## build the documentation, docs/_build/html/index.html; a warning is an error
	@rm -rf docs/api docs/_build
	@$(PY) -m sphinx --quiet -W --keep-going -b html $(ARGS) docs docs/_build/html

clean: ## remove everything that make produced (an environment of your own, VENV=..., stays)
	rm -rf .venv build dist demo docs/api docs/_build __pycache__ .asv .hypothesis .pytest_cache .mypy_cache .ruff_cache ./*.egg-info
	rm -f lpnum/_core/*.so lpnum_optim/_core/*.so lpnum_optim/_moments/*.so $(GENERATED)
	find lpnum lpnum_optim tests tools benchmarks examples docs -name __pycache__ -type d -exec rm -rf {} +

# The environment holds absolute paths: after the clone was moved or copied, or the interpreter went away, it is
# made anew. The stamp holds the path it was made for.
ifneq ($(shell test -x '$(PY)' && cat '$(VENV)/stamp-venv' 2> /dev/null),$(CURDIR))
$(VENV)/stamp-venv: FORCE
endif
$(VENV)/stamp-venv:
	@command -v $(PYTHON) > /dev/null || { \
	    echo "error: no $(PYTHON) found; install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv python3-dev)," \
	        "or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) tools/check_machine.py
	@echo "==> $(VENV): virtual environment"
	@$(PYTHON) -m venv $(if $(filter .venv,$(VENV)),--clear) $(VENV)
	@printf '%s\n' '$(CURDIR)' > $@

$(VENV)/stamp-build-requires: $(VENV)/stamp-venv pyproject.toml
	@echo "==> $(VENV): build requirements"
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > $@
	@$(PIP) install -r $@

# The first time, and when the metadata changed, pip installs the clone in place, which compiles; later only the compiler
# runs. (pip would compile everything again each time: it builds in a new temporary directory.)
$(VENV)/stamp-build: $(VENV)/stamp-build-requires pyproject.toml setup.py $(SOURCES)
	@echo "==> compiling"
	@$(if $(filter-out $(SOURCES),$?),$(PIP) install --no-build-isolation --no-deps -e .,$(PY) setup.py --quiet build_ext --inplace --parallel 2)
	@touch $@

# stamp-with-EXTRAS: what these extras ask for. lpnum itself is already there, so pip only reads its metadata.
$(VENV)/stamp-with-%: $(VENV)/stamp-venv pyproject.toml | $(VENV)/stamp-build
	@echo "==> $(VENV): lpnum[$*]"
	@$(PIP) install 'lpnum[$*]'
	@touch $@

# The version that the tests know, a build for processors; the extra `torch` takes any later one.
$(VENV)/stamp-torch: $(VENV)/stamp-venv | $(VENV)/stamp-build
	@echo "==> $(VENV): torch"
	@$(PIP) install torch==2.13.0
	@touch $@

FORCE:
