# `make demo` and `make test` each work in a fresh clone: both install what they need first.
# Another interpreter: make install PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check --retries 10 --timeout 120

export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test fuzz study docs format clean
.DELETE_ON_ERROR:

help:
	@echo "make install   make .venv with everything in it"
	@echo "make demo      recognise speech, then train the three stages on a corpus made on the spot"
	@echo "make test      formatting, lint, types, import rules and all tests"
	@echo "make fuzz      run 12,000 damaged files through the command line"
	@echo "make study     measure one of research/studies: make study NAME=future"
	@echo "make docs      build the documentation into site/"
	@echo "make format    put the code into the project's format"
	@echo "make clean     remove .venv and caches"

install: $(STAMP)

# torch comes first and alone, so that every later step finds the version the tests pin.
# A failed download is tried once more from pip's cache.
$(STAMP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "$(PYTHON) is missing or is not Python 3.11 to 3.13;" \
		     "name one that is: make install PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install '$(TORCH)' || $(PIP) install '$(TORCH)'
	$(PIP) install '$(TORCH)' -e '.[train,cluster,demo,export,hub,plot,pretrained,serve,sherpa,vad,video,docs,dev]' || $(PIP) install '$(TORCH)' -e '.[train,cluster,demo,export,hub,plot,pretrained,serve,sherpa,vad,video,docs,dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/keyframe demo

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# repeat one case: make fuzz ARGUMENTS="--seed 1 --only audio-17"
fuzz: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGUMENTS)

study: $(STAMP)
	$(BIN)/python -m research $(NAME) $(ARGUMENTS)

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build site
