# make demo   ingest real files with real processes: SOURCE=folder OPERATION=put|put_sync|register_sync
# make test   everything a change must pass: lint, types, import contracts, tests
# make lint   the same without the tests
# make test-cluster  the sandbox on the cluster of KUBECONFIG: IMAGE=name NEXT_IMAGE=name LOWPASS=name FILES=number
# make soak   pods over a changing tree while all around them is killed: SOAK_SECONDS=300 SEED=number
# make lock   pin what the images install, with hashes, in requirements/ and k8s/examples/lowpass/
# make test-browser   the status page in a real Chromium, which must be installed: SCREENSHOTS=folder keeps pictures
# make docs   write config.yml and docs/settings.md, commands.md and errors.md from the code
# make clean  remove the demo's data and all caches

PYTHON_IN_VENV := .venv/bin/python
TEST_PROCESSES ?= 2

.PHONY: demo test lint test-cluster soak lock docs clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n 's/^# make/make/p' Makefile

demo: .venv/installed
	@set --; \
	[ -z "$$SOURCE" ] || set -- "$$@" --source "$$SOURCE"; \
	[ -z "$$OPERATION" ] || set -- "$$@" --operation "$$OPERATION"; \
	exec $(PYTHON_IN_VENV) -m scripts.demo "$$@"

test: .venv/installed-dev
	@TEST_PROCESSES=$(TEST_PROCESSES) scripts/check.sh lint test

lint: .venv/installed-dev
	@scripts/check.sh lint

test-cluster: .venv/installed-dev
	@$(PYTHON_IN_VENV) -m pytest -q -x --timeout 1800 -p no:xdist -o log_cli=true tests/cluster/live.py

soak: .venv/installed-dev
	@$(PYTHON_IN_VENV) -m tests.soak

# needs uv (`pip install uv`); the sandbox's lock holds the pods' versions
UV_LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade
lock:
	@$(UV_LOCK) pyproject.toml -o requirements/pods.lock
	@$(UV_LOCK) pyproject.toml --extra sandbox -c requirements/pods.lock -o requirements/sandbox.lock
	@$(UV_LOCK) requirements/build.in -o requirements/build.lock
	@$(UV_LOCK) k8s/examples/lowpass/requirements.in -o k8s/examples/lowpass/requirements.lock

test-browser: .venv/installed-dev
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check 'playwright>=1.45'
	@$(PYTHON_IN_VENV) -m pytest -q tests/browser

docs: .venv/installed-dev
	@$(PYTHON_IN_VENV) -m scripts.write_docs

# installed again only when pyproject.toml changed
.venv/installed: pyproject.toml
	@scripts/make_venv.sh '.[sandbox]'
	@touch $@

.venv/installed-dev: pyproject.toml
	@scripts/make_venv.sh '.[sandbox,dev]'
	@touch .venv/installed $@

# as root the demo's database may lie elsewhere: a file of that name says where
clean:
	@[ ! -d .demo ] || find .demo -name elsewhere -exec \
		sh -c '$(PYTHON_IN_VENV) -m sandbox.postgres --remove --folder "$$(dirname "$$1")"' sh {} \;
	@rm -rf .demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -exec rm -rf {} +
