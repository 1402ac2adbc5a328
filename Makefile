# Every target sets up what it needs in .venv; nothing has to be typed before it.
PYTHON ?= python3
# `make test CONSTRAINTS=` takes the newest versions.
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST = HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n logical --maxprocesses 8 --dist worksteal

WITH_MODELS := 9ec20896108043e08dae972ca2795c4ca4d82e10

.PHONY: setup demo test test-all lint docs help fits results gpu models clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $(CONSTRAINTS:%=--constraint %) --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # by all cores, where pip takes one
	touch $@

demo: setup  ## a task in which the activation decides; the report lands in runs/demo
	$(BIN)/raft demo --overwrite --out runs/demo

test: setup  ## all but those marked slow
	$(PYTEST) -m "not slow"

test-all: test  ## and those
	$(PYTEST) -m slow

lint: setup
	$(BIN)/ruff check src tests scripts results examples
	$(BIN)/ruff format --check src tests scripts results examples
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

docs: $(VENV)/.docs  ## build the site into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS:%=--constraint %) --editable '.[docs]'
	touch $@

help: setup  ## write anew what 'raft COMMAND --help' prints
	$(BIN)/python scripts/write_help.py

fits: setup  ## refit the table of named activations
	$(BIN)/python scripts/fit_named_activations.py

results: setup  ## make the claims' part of results/ again, hours of two cores, and of a GPU where there is one (scripts/make_results.py --list tells them); ONLY="cpu-1hour", WIKIPEDIA=, GLUE=, SQUAD=, SNLI=, BLIMP=, ZORRO=, MINILM= say what and from where
	$(BIN)/python scripts/make_results.py $(if $(ONLY),--only $(ONLY)) $(if $(WIKIPEDIA),--wikipedia $(WIKIPEDIA)) \
		$(if $(GLUE),--glue $(GLUE)) $(if $(SQUAD),--squad $(SQUAD)) $(if $(BLIMP),--blimp $(BLIMP)) $(if $(ZORRO),--zorro $(ZORRO)) \
		$(if $(SNLI),--snli $(SNLI)) $(if $(MINILM),--minilm $(MINILM))

gpu: setup  ## do for nine minutes what needs a GPU, and go on when called again; TRY=1 tries it, small, on a CPU; WIKIPEDIA=, BLIMP=, ZORRO=, GLUE= and ONLY= as above
	$(BIN)/python scripts/make_results.py --gpu $(if $(TRY),--try,--minutes 9) $(if $(ONLY),--only $(ONLY)) \
		$(if $(WIKIPEDIA),--wikipedia $(WIKIPEDIA)) $(if $(BLIMP),--blimp $(BLIMP)) $(if $(ZORRO),--zorro $(ZORRO)) \
		$(if $(GLUE),--glue $(GLUE))

models:  ## bring back all models of results/, 95 MB, from the last commit that has them; ONLY=gpu-pretraining those of one folder
	git cat-file -e $(WITH_MODELS) 2> /dev/null || git fetch --depth 1 origin $(WITH_MODELS)
	for run in $$(git ls-tree -r --name-only $(WITH_MODELS) results/$(ONLY) | sed -n 's|model.safetensors$$||p'); do \
		git restore --source $(WITH_MODELS) -- $${run}model.safetensors $${run}config.json $${run}tokenizer.json \
			$${run}tokenizer_config.json || exit 1; \
	done

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache
