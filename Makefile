# Everything runs in .venv, which the first target that needs it makes. A second run installs nothing.
# Where Python comes without ensurepip (Debian packs it apart), the pip at hand puts one into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint clean

demo: .venv/installed-demo  ## install, and run the main job on the embedded model
	$(BIN)/vidzip demo

test: .venv/installed-test  ## install what tests need, and run them all
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv/installed-lint  ## style, types and the import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove all that make and the tools made
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
