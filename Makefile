# `make help` lists what there is. Needs only Python >= 3.10 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# MLflow starts `python -m mfc …` from PATH, so the environment comes first there.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_DISABLE_TELEMETRY=true
PORT ?= 5000
EXPERIMENT ?= demo

.DEFAULT_GOAL := help
.PHONY: help demo test check format install ui pictures bench lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: install ## the whole pipeline on a synthetic corpus: 5 to 8 minutes on two cores
	$(RUN) MLFLOW_EXPERIMENT_NAME=$(EXPERIMENT) mlflow run . --env-manager=local -P experiment=$(EXPERIMENT)
	@echo "Compare the runs in the MLflow UI:  make ui   (then open http://127.0.0.1:$(PORT))"

# Two workers with two OpenMP threads each would wait on one another, thirty times as slow.
test: check ## lint, type-check and run all tests
	$(RUN) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup

check: install ## lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## rewrite the code in the agreed format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: .venv/installed ## make .venv with the locked packages

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

ui: install ## the MLflow UI on the local store
	$(RUN) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port $(PORT) \
	  --workers 2 --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" --artifacts-destination "$(CURDIR)/mlruns"

pictures: install ## save screenshots of the last demo to docs/pictures (needs chromium)
	$(RUN) python -m tests.browser.pictures

bench: install ## print the benchmark table
	$(RUN) python -m benchmarks

lock: install ## renew requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 pyproject.toml --extra dev \
	  --no-emit-index-url --no-annotate --no-header --upgrade -o requirements.lock

clean: ## remove the environment and all outputs, also the MLflow store
	rm -rf .venv work mlruns mlflow.db .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
