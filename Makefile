# make demo: the whole study on the embedded demo. make test: the tests. Both make the virtual environment first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: setup demo demo-full test test-slow lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.txt
	touch $@

demo: setup
	$(RUN) run_pipeline.py --preset demo

demo-full: setup
	$(RUN) run_pipeline.py --preset demo-full

test: setup
	$(RUN) -m pytest

test-slow: setup
	$(RUN) -m pytest -m slow

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf outputs data model_outputs
