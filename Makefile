# Everything runs in .venv, which is created on first use; later runs install nothing.
# If Python has no ensurepip (a separate package on Debian), pip is installed into .venv by the pip of PYTHON.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint clean

demo: .venv/installed-demo  ## install, and run the demo on the built-in model
	$(BIN)/vidzip demo

test: .venv/installed-test  ## install test dependencies, and run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv/installed-lint  ## check style, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove everything that make and the tools created
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --clear --without-pip .venv && \
	  $(PYTHON) -m pip --quiet --python .venv/bin/python install pip; } || { rm -rf .venv; exit 1; }

.venv/installed-demo: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[test]'
	touch $@ .venv/installed-demo

.venv/installed-lint: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[test,lint]'
	touch $@ .venv/installed-test .venv/installed-demo
