# `make demo` and `make test` need nothing but Python 3.11 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_DATABASE := sqlite:///demo/exchange.db

# In how many processes `make test` runs the tests.
JOBS ?= auto

.DEFAULT_GOAL := help
# What `make mutants` tries: all that it has not tried yet; with AGAIN='survived untested' also those in these states.
AGAIN ?=

# More for `make bench`: BENCH='--only 1.in --rounds 5', BENCH=--help.
BENCH ?=

.PHONY: help demo serve test fuzz crash mutants bench bench-full bench-reads bench-overload lock sbom audit openapi errors format clean

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/runtime ## Import four years of an exchange, close them, trade live, and verify: the embedded database, about half a minute
	$(BIN)/exchange demo

serve: $(VENV)/runtime ## Serve the demo's database, with docs at /docs
	@test -f demo/exchange.db || { echo "There is no demo/exchange.db yet: run 'make demo' first." >&2; exit 2; }
	EXCHANGE_DATABASE_URL=$(DEMO_DATABASE) $(BIN)/exchange serve

test: $(VENV)/dev ## Check and test everything, on PostgreSQL too where there is one
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	@if test -f .pytest_cache/postgres-ran; then $(BIN)/coverage report --fail-under=100; \
	else $(BIN)/coverage report; echo "Coverage is not required: the PostgreSQL half was skipped."; fi

fuzz: $(VENV)/dev ## Run the property tests for long, and try the document on a real server with tens of thousands of cases
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/test_schema.py -rP
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/test_model.py tests/test_rules.py

crash: $(VENV)/dev ## Kill the server, and PostgreSQL, a hundred times at random moments under load
	EXCHANGE_CRASHES=100 $(BIN)/python -m pytest tests/test_crash.py -k "killed or crashes"

mutants: $(VENV)/dev ## Change the rules, the ledger, the volume and the journal, and see that the fast tests notice; goes on where it stopped
	@test -z "$(AGAIN)" || $(BIN)/python tests/mutants.py $(AGAIN)
	HYPOTHESIS_PROFILE=mutants nice $(BIN)/mutmut run --max-children 2
	$(BIN)/python tests/mutants.py

bench: $(VENV)/dev ## Measure the write path against pgbench doing the same work, about 5 minutes (needs wrk and PostgreSQL's binaries)
	$(BIN)/python -m benchmarks $(BENCH)

bench-full: $(VENV)/dev ## The same with more rounds, a million imported and a million sent, and all other benchmarks; writes bench/
	$(BIN)/python -m benchmarks --full --json bench/full.json --markdown bench/full.md --picture bench/full.svg $(BENCH)

bench-reads: $(VENV)/dev ## Measure the reads on ten thousand and on ten million movements of the volume (needs PostgreSQL's binaries, 12 GB of disk)
	$(BIN)/python benchmarks/reads.py

bench-overload: $(VENV)/dev ## Measure ten times too many requests, one member's flood, and slow clients (needs PostgreSQL's binaries)
	$(BIN)/python benchmarks/overload.py

openapi: $(VENV)/dev ## Write openapi/exchange.json
	$(BIN)/exchange openapi > openapi/exchange.json

errors: $(VENV)/dev ## Write docs/errors.md
	$(BIN)/exchange errors --markdown > docs/errors.md

format: $(VENV)/dev ## Format, and mend what can be mended
	$(BIN)/ruff check --fix --show-fixes .
	$(BIN)/ruff format .

lock: ## Pin all dependencies anew, with hashes (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  --output-file requirements.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  --constraint requirements.txt --output-file requirements-dev.txt

sbom: $(VENV)/dev ## Write docs/sbom.cdx.json and docs/licences.md from the lock files
	$(BIN)/python tests/supply.py

audit: $(VENV)/dev ## Ask for known flaws of what is shipped; says so where nobody can be asked
	$(BIN)/python tests/supply.py audit

clean: ## Remove what was made here
	rm -rf $(VENV) bench demo .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=…" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The package itself is put on the path, not built: what is run is what is in this folder.
define INSTALL
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "exchange.pth").write_text(str(pathlib.Path.cwd()))'
	printf '#!%s\nfrom exchange.cli import main\nmain()\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/exchange
	chmod +x $(BIN)/exchange
	touch $@
endef

$(VENV)/runtime: requirements.txt | $(VENV)/bin/python
	$(INSTALL)

$(VENV)/dev: requirements-dev.txt | $(VENV)/bin/python
	$(INSTALL)
	touch $(VENV)/runtime
