# Everything that a newcomer or a developer runs. Each target does its own set-up: the environment
# .venv is made on first use, and made up to date when what it is built from has changed.

PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
FUZZ_VENV ?= .venv-fuzz
# Further arguments of the command: make bench ARGS="--epochs 5", make test ARGS="-k gradient"
ARGS ?=
# Number of pytest-xdist processes: one more than CPUs, as many tests wait for processes of their own.
JOBS ?= $(shell expr 1 + $$(nproc 2>/dev/null || echo 1))

# Where it is set, every process that a test starts compiles the modules that it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
C_FILES := $(sort $(shell find csrc tests/c tests/fuzz -name '*.[ch]'))
CYTHON_FILES := $(sort $(shell find fastsoftmax -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi'))
# build/partial is there where `make quick` has built a core of one instruction set.
BUILD_INPUTS := pyproject.toml setup.py csrc/build_flags.sh $(filter csrc/%,$(C_FILES)) $(CYTHON_FILES) $(wildcard build/partial)

TESTS_OF_THREADS := tests/arrays/test_threads.py tests/backends/test_processes.py tests/training/test_interruption.py
TESTS_OF_MEMORY := -q --timeout=3000 -k "compiled and not numba" tests/training/test_epoch.py::test_one_step_of_a_kernel \
	tests/loss/test_linear.py tests/classifier/test_grid_search.py $(wildcard tests/training/test_sparse_*.py)

.DEFAULT_GOAL := help
.NOTPARALLEL:
# All targets that have a help text.
.PHONY: $(shell sed -n 's/^\([a-z0-9 -]*\):.*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile

bench: $(VENV)/.bench ## the main job: train on real images with every backend and compare them
	$(BIN)/fastsoftmax bench $(ARGS)

# The tests of a file share what takes long to set up. Files go in the order that tests/conftest.py gives them.
PYTEST = $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

# Each process has one CPU at most, as many as there are; `make test-all` has the threads of BLAS, too.
test: export OPENBLAS_NUM_THREADS ?= 1
test: $(VENV)/.test ## every test, with each value of its arguments; make test ARGS="-k gradient" for all items of some
	$(PYTEST) --quick=unnamed $(ARGS)

test-all: $(VENV)/.test ## every test with combinations of values, those marked slow, and those next to PyTorch and JAX
	$(PYTEST) --pairs -m "" $(ARGS)
	@$(MAKE) --no-print-directory test-peers ARGS=

# Not $(VENV)/.test itself, which would compile for every instruction set.
quick: ## compile for this CPU what has changed, and run the tests of what is not committed; K=gradient for some of them
	@test -e $(VENV)/.test || $(MAKE) --no-print-directory $(VENV)/.test
	$(BIN)/python tests/builds/quick_loop.py $(if $(K),"$(K)")

check-c: ## the C tests: exponential, threads, memory, other systems and CPUs; skips what lacks its tools
	tests/c/check_all

benchmarks: $(VENV)/.test ## the pytest-benchmark suites, the backends side by side
	$(BIN)/python -m pytest benchmarks --benchmark-columns=median,iqr,rounds $(ARGS)

compare: $(VENV)/.test ## BASE=<commit>: which rows of the suites are slower or faster than there, measured side by side, with verdicts
	$(BIN)/python -m benchmarks.compare $(BASE) $(ARGS)

# ARGS=--all: a skip is a failure, too.
windows-check: ## kernels and pool cross-built for Windows, and run by wine: do they have the bits of this machine?
macos-check: ## kernels and pool compiled and linked for macOS, on Intel and on Apple silicon
musl-check: ## kernels and pool linked with musl, and run
emulated-check: ## kernels and pool on AArch64 (NEON), RISC-V, POWER and s390x, emulated: the same bits?
windows-check macos-check musl-check emulated-check:
	tests/c/check_platforms $(ARGS) $(@:-check=)

aarch64: $(VENV)/.test ## the compiled backend cross-built and emulated: its tests, and the bits of trainings
	tests/builds/aarch64 $(BIN)/python

test-peers: ## the tests next to PyTorch and JAX, none of them skipped
	@$(MAKE) --no-print-directory VENV=$(PEERS_VENV) $(PEERS_VENV)/.peers
	$(PEERS_VENV)/bin/python -m pytest tests/peers --override-ini='norecursedirs=.* build' $(ARGS)

exp-check: ## the exponential at every float32, and densely at float64, for every instruction set
	tests/c/check_exponential

accuracy: ## the errors of losses and gradients of hard rows, next to SciPy's and PyTorch's
	@$(MAKE) --no-print-directory VENV=$(PEERS_VENV) $(PEERS_VENV)/.peers
	$(PEERS_VENV)/bin/python -m benchmarks.accuracy $(ARGS)

docs: ## the site in build/site, its examples run; warnings are errors
	@$(MAKE) --no-print-directory VENV=$(PEERS_VENV) $(PEERS_VENV)/.docs
	$(PEERS_VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going docs build/site $(ARGS)
	@echo "open build/site/index.html"

lesson: $(VENV)/.lesson ## the lesson in JupyterLab; without a display, or with ARGS=html, run it and write build/lesson/*.html
	$(BIN)/python docs/lesson/notebooks.py $(ARGS)

fuzz: ## feed kernels, readers and model files what a fuzzer makes; ARGS="--target csv --runs 1000000"
	@$(MAKE) --no-print-directory VENV=$(FUZZ_VENV) $(FUZZ_VENV)/.fuzz
	$(FUZZ_VENV)/bin/python -m tests.fuzz.fuzz $(ARGS)

peers: ## compare with NumPy, PyTorch, JAX and scikit-learn; make peers ARGS="loss" for the loss core, "optimum" for the time to the minimum
	@$(MAKE) --no-print-directory VENV=$(PEERS_VENV) $(PEERS_VENV)/.peers
	$(PEERS_VENV)/bin/python -m benchmarks.peers $(or $(ARGS),epochs)

history: $(VENV)/.test ## measure the ratios of guard, and keep them in benchmarks/history for this version: on a quiet machine
	$(BIN)/python -m benchmarks.history $(ARGS)

soak: $(VENV)/.test ## a service's calls for minutes in one process: memory, files and bits stay as they are
	$(BIN)/python -m benchmarks.soak $(ARGS)

guard: $(VENV)/.test ## ratios to NumPy, of threads and beside busy processes, none worse than before
	$(BIN)/python -m benchmarks.guard $(ARGS)

lint: $(VENV)/.dev ## every check of style and types; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(C_FILES),$(BIN)/clang-format --dry-run -Werror $(C_FILES))
	$(if $(CYTHON_FILES),PATH="$(abspath $(BIN)):$$PATH" cython-lint $(CYTHON_FILES))
	tests/c/check_compiles

format: $(VENV)/.dev ## lay out the Python and C files as `make lint` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(C_FILES),$(BIN)/clang-format -i $(C_FILES))

wheel: ## build sdist and Linux wheel (manylinux2014) in dist/, inspect and test them; summary at the end
	PYTHON=$(PYTHON) tests/builds/wheel

sdist: $(VENV)/.dev ## build the sdist in dist/
	$(BIN)/python -m build --sdist

platforms: ## test what make wheel has built on every Python, portable, pure, oldest and newest NumPy
	$(PYTHON) tests/builds/platforms.py $(ARGS)

release: $(VENV)/.test ## compile again, optimised: what `make bench` and `make test` begin with
debug: $(VENV)/.test ## compile again with -O0 -g, for a debugger
profile-build: $(VENV)/.test ## compile again optimised, with symbols and frame pointers, for a profiler
debug: export FASTSOFTMAX_BUILD := debug
profile-build: export FASTSOFTMAX_BUILD := profile
release debug profile-build:
	$(call COMPILE,--inplace)

asan ubsan: $(VENV)/.test ## the tests with AddressSanitizer, or UndefinedBehaviorSanitizer, in C and Cython
	tests/builds/instrumented $@ $(BIN)/python $(ARGS)

tsan: $(VENV)/.test ## the thread pool, and the tests of threads, with ThreadSanitizer
	tests/c/check_threads
	tests/builds/instrumented tsan $(BIN)/python $(or $(ARGS),$(TESTS_OF_THREADS))

memcheck: $(VENV)/.test ## the portable and the AVX2 kernels under valgrind
	tests/c/check_memory
	tests/builds/instrumented memcheck $(BIN)/python $(or $(ARGS),$(TESTS_OF_MEMORY))

coverage: $(VENV)/.dev ## the lines of Python, Cython and C that the tests run
	tests/builds/instrumented coverage $(BIN)/python $(ARGS)

mutants: $(VENV)/.test ## plant bugs in kernels and training, one by one: do the tests find them?
	$(BIN)/python tests/builds/mutants.py $(ARGS)

clean: ## remove everything that make made, the environment included
	rm -rf $(VENV) $(PEERS_VENV) $(FUZZ_VENV) build dist docs/generated *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	rm -f fastsoftmax/backends/compiled/_core.c fastsoftmax/backends/compiled/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each extra. An extra holds the one before it, so its stamp stands for both.
# The compiler works while packages are downloaded. Where nothing but a source has changed, it alone has to.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
BUILD_REQUIRES = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
# The instruction sets of this CPU: `make lint` compiles the others, and the wheel has all.
# What compilers warn of is for those who edit C: it is shown where they fail, and by make quick.
COMPILE = { FASTSOFTMAX_KERNELS=native $(BIN)/python setup.py -q build_ext $(1) > $(VENV)/compile$(1).log 2>&1 || { cat $(VENV)/compile$(1).log >&2; false; }; }
install_extra = $(if $(filter pyproject.toml setup.py $(VENV)/.created,$?),$(download_and_compile),@$(call COMPILE,--inplace))
# pip would compile to bytecode every module of every package, which takes a minute: Python does it to those
# that are imported. Here one process imports them, before all that `make test` starts do so at once.
IMPORTED_test := distributed,dask.dataframe,hypothesis,joblib,matplotlib.pyplot,mpmath,numba,onnx,onnxruntime
IMPORTED_test := $(IMPORTED_test),pandas,polars,pyarrow.parquet,pytest,rich.progress,safetensors,scipy.stats
IMPORTED_test := $(IMPORTED_test),sklearn.linear_model,sklearn.utils.estimator_checks,xdist,zarr
define download_and_compile
@echo "installing fastsoftmax[$(1)] into $(VENV): downloads packages and compiles"
@$(BIN)/python -c '$(BUILD_REQUIRES)' > $(VENV)/build-requires.txt
@$(INSTALL) --requirement $(VENV)/build-requires.txt
@$(call COMPILE,) & compiling=$$!; \
	FASTSOFTMAX_PURE=1 $(INSTALL) --no-compile --no-build-isolation --editable ".[$(1)]"; installed=$$?; \
	$(if $(IMPORTED_$(1)),$(BIN)/python -W ignore -c "import $(IMPORTED_$(1))";) \
	wait $$compiling && exit $$installed
@$(call COMPILE,--inplace)
endef

$(VENV)/.bench: $(VENV)/.created $(BUILD_INPUTS)
	$(call install_extra,bench)
	@touch $@

$(VENV)/.test: $(VENV)/.created $(BUILD_INPUTS)
	$(call install_extra,test)
	@touch $(VENV)/.bench $@

# The peers are large: they have an environment of their own, in which VENV is PEERS_VENV.
$(VENV)/.peers: $(VENV)/.created $(BUILD_INPUTS)
	$(call install_extra,peers)
	@touch $(VENV)/.bench $@

$(VENV)/.docs: $(VENV)/.created $(BUILD_INPUTS)
	$(call install_extra,docs)
	@touch $(VENV)/.bench $(VENV)/.peers $@

$(VENV)/.lesson: $(VENV)/.created $(BUILD_INPUTS)
	$(call install_extra,lesson)
	@touch $(VENV)/.bench $@

$(VENV)/.fuzz: $(VENV)/.created $(BUILD_INPUTS)
	$(call install_extra,fuzz)
	@touch $@

# The linters read the sources: they need not be compiled again for them.
$(VENV)/.dev: $(VENV)/.created pyproject.toml
	$(call install_extra,dev)
	@touch $(VENV)/.bench $(VENV)/.test $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'make: needs Python 3.11 or newer with venv (on Debian and Ubuntu: apt install python3-venv);' \
			'`$(PYTHON)` is not that. Name another: make PYTHON=/path/to/python3' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@
