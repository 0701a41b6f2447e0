# make demo   what the framework does, on real pretrained weights
# make test   what CI does: ruff, mypy, import-linter, pytest with coverage
# Both make $(VENV) and install into it on their first call; a second call installs nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
METADATA := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test lint matrix clean

demo: $(VENV)/.demo
	$(BIN)/tlresearch train -m preset=scratch,probe,finetune,lora backbone=efficientnet_lite0 \
		backbone.image_size=64 dataset=digits dataset.labels_per_class=20 evaluate_every=70
	$(BIN)/tlresearch report

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov --cov-report=term --cov-fail-under=90

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/mypy --strict tlresearch plugins
	$(BIN)/lint-imports

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
