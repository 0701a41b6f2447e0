# make demo   from scratch, probe, fine-tuning or LoRA, and how many labels: 25 runs, a table, $(PICTURE).png and .svg
# make test   what CI does: ruff, mypy, import-linter, pytest with coverage
# make launchers   the slow tests of sweeps; make matrix: every method with every network, and two processes
# All make $(VENV) and install into it on their first call; a second call installs nothing.
PYTHON ?= python3
VENV ?= .venv
PICTURE ?= runs/quickstart
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
METADATA := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test lint suite launchers matrix clean

demo: $(VENV)/.demo
	$(BIN)/tlresearch train -m -cn quickstart
	$(BIN)/tlresearch report --picture $(PICTURE)

test: $(VENV)/.test
	+$(MAKE) --no-print-directory -j2 lint suite

suite: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-fail-under=90

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/mypy --strict tlresearch plugins hydra_plugins
	$(BIN)/lint-imports

# hydra-ray-launcher asks for a cloudpickle older than the tested one: hence --no-deps.
launchers: $(VENV)/.test
	$(PIP) "ray[default]"
	$(PIP) --no-deps hydra-ray-launcher
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/runs/test_launchers.py tests/runs/test_sharing.py tests/runs/test_fused.py

matrix: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow or matrix"

$(VENV)/.demo: $(METADATA)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[offline]"
	touch $@

$(VENV)/.test: $(METADATA)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[test,offline]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
