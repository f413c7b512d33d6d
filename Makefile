# Everything runs inside .venv, made from pyproject.toml with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/quickstart

.PHONY: quickstart test check format bench clean

# Trains on embedded pictures for a few minutes, then prints and writes the report.
quickstart: .venv/experiments
	$(BIN)/python -m experiments.seeded_seg \
	    --config=experiments/seeded_seg.py:quickstart --workdir=$(RUN)

test: .venv/dev
	$(BIN)/python -m pytest

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every comparison with its peers; BENCH="losses --quick" names some, or takes small sizes.
bench: .venv/bench
	$(BIN)/python -m benchmarks $(BENCH)

clean:
	rm -rf .venv build *.egg-info

.venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --editable ".[$*]"
	touch $@
