# make demo   predict the post-operative brain of a simulated patient, with a picture       (the first run installs what it needs)
# make test   everything that continuous integration checks
#
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
# The simulated patients that `make evaluate` tests on; made once.
LIBRARY ?= runs/evaluation-library
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Two threads that spin while they wait for each other make torch ten times slower on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0

.PHONY: demo test lint published evaluate install clean

demo: $(STAMP)
	@$(BIN)/postop demo --out demo --overwrite

test: lint published
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist=worksteal

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# diffusers' own InstructPix2Pix imports transformers. It lies apart, so that all else is tested without it, as users have it.
published: $(STAMP)
	@test -d $(VENV)/published/transformers || $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target $(VENV)/published -c constraints.txt transformers tokenizers
	@PYTHONPATH=$(VENV)/published POSTOP_PUBLISHED=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:cacheprovider Testing/backend/test_baselines_published.py

evaluate: $(STAMP)
	@$(BIN)/postop library phantom $(LIBRARY)
	@$(BIN)/postop evaluate --library $(LIBRARY)

install: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but $(PYTHON) is " + sys.version.split()[0] + ". Say make PYTHON=python3.12, for example.")'
	$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[test,slicer,train]"
	touch $@

clean:
	rm -rf $(VENV) demo runs build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
