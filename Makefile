# Vigie: `make run` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup run test lint types dev bench docs lock clean

setup: $(STAMP)

# Bytecode is compiled once here: without it every command starts twice as slowly.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 15) else f"Python 3.11 to 3.14 expected, found {v.major}.{v.minor}: set PYTHON=python3.x")'
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) \
		&& VIRTUAL_ENV=$(VENV) uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock \
		&& VIRTUAL_ENV=$(VENV) uv pip install --quiet --no-deps --editable . ; \
	else \
		$(PYTHON) -m venv $(VENV) \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . ; \
	fi
	@touch $@

run: setup
	@$(BIN)/vigie run

test: setup lint types
	@$(BIN)/python -m pytest -n 2

lint: setup
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/basedpyright --level error

dev: setup
	@$(BIN)/vigie dev

bench: setup
	@$(BIN)/python -m bench

docs: setup
	@$(BIN)/python -m docs.generate

# The lock names versions and hashes, no registry.
lock:
	uv pip compile pyproject.toml --extra dev --extra postgres --universal --no-strip-extras --generate-hashes --no-annotate --no-header --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) data site
