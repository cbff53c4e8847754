# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PY := .venv/bin/python
STAMP := .venv/.installed
COMPILED := .venv/.compiled
HOT := $(shell sed -n 's/^    "\(.*\.py\)",$$/\1/p' finance/settings/compiled.py)

.PHONY: demo test test-secure check scan bench chaos drill compile hsm clean fmt

$(STAMP): requirements.lock pyproject.toml
	@test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(COMPILED): $(STAMP) finance/workshop/compile.py finance/settings/compiled.py $(HOT)
	$(PY) -m finance.workshop.compile
	@touch $@

compile: $(COMPILED)  ## compile the hot modules in place (without a C compiler they run interpreted)

demo: $(COMPILED)  ## the main job on real data with everything embedded (DEMO_ARGS="--full" for the whole year)
	$(PY) -m finance demo $(DEMO_ARGS)

hsm:  ## the software HSM, the pooler and the browser of the tests, from the distribution, when they are not there
	@tests/support/install-softhsm >/dev/null
	@tests/support/install-pgbouncer >/dev/null
	@tests/support/install-chromium >/dev/null

# Two workers, each with a stack of its own and whole files at a time, the slow ones first: most tests wait for servers.
test: $(COMPILED) hsm  ## the whole suite, on real servers
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-secure: $(COMPILED) hsm  ## every test that needs servers, with mutual TLS on each of their ports
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --secure tests/integration tests/fault tests/interop $(PYTEST_ARGS)

check: $(STAMP)  ## format, lint, types, import rules, unit and property tests; no services, under a minute
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-cache
	$(PY) -m pytest -n 2 tests/unit tests/property

scan: $(STAMP)  ## secrets in the repository, lock file, bill of materials, licences, known vulnerabilities
	$(PY) -m finance.workshop.guardrails $(SCAN_ARGS)

fmt: $(STAMP)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(COMPILED)  ## speed, with figures (BENCH_ARGS to choose)
	$(PY) -m tests.bench $(BENCH_ARGS)

chaos: $(COMPILED)  ## half an hour of random misfortune, then an accounting (CHAOS_ARGS="--minutes N --seed N --rate N")
	$(PY) -m tests.chaos $(CHAOS_ARGS)

drill: $(COMPILED)  ## every recovery drill on a ledger of 100,000 events (DRILL_ARGS="--events N --keep DIR")
	$(PY) -m tests.bench.bench_drill $(DRILL_ARGS)

clean: $(STAMP)
	-$(PY) -m finance dev down --all
	-$(PY) -m finance.workshop.compile --clean && rm -f $(COMPILED)
	rm -rf .finance demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
