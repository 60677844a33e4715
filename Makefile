# Two commands do all the set-up: `make run` and `make test`. They need make and Python 3.11 or newer.

# The first interpreter that really runs: a name in PATH may be a version manager's shim with nothing behind it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# What is measured has an environment of its own, and all servers in Python the same interpreter.
BENCH := .venv-bench
# What checks the JavaScript of the pages.
PAGES := tools/javascript
# More arguments: make run ARGS='--port 9000', make test ARGS='-k login'
ARGS ?=
IMAGE ?= pisync
# Where the code is published, for the image's label.
SOURCE ?= unknown

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.runtime ## Start the service at http://127.0.0.1:8080
	$(BIN)/pisync serve $(ARGS)

# By file, so that what a module shares (an image, a server) is made once; in the given order, since
# the longest are not the last.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# What needs more than Python, installs PiSync elsewhere, is very large, or sees whole systems through
# kills and cuts.
SYSTEM := $(addprefix tests/,browser chaos clients docker installed testcontainers)

.PHONY: test
test: $(VENV)/.dev ## Run the tests that need Python alone, PostgreSQL's included
	$(PYTEST) $(addprefix --ignore=,$(SYSTEM)) $(ARGS)

.PHONY: test-system
test-system: $(VENV)/.dev ## Run those with containers, browsers, other people's tools, and chaos
	$(PYTEST) $(SYSTEM) $(ARGS)

.PHONY: coverage
coverage: $(VENV)/.dev ## Run the tests of `make test`, and report which lines they reach
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n auto --dist loadfile --no-loadscope-reorder \
	  $(addprefix --ignore=,$(SYSTEM)) $(ARGS); \
	status=$$?; $(BIN)/coverage combine --quiet && $(BIN)/coverage report; exit $$status

# The rooms that need no other process, on one store and one way through the server.
FAST := $(addprefix tests/,auth concurrency config model simulation stores/contract telemetry web/contract web/handlers) \
	$(wildcard tests/repository/test_r*.py)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## Run the tests that answer within a minute, while you work
	$(BIN)/python -m pytest --fast -q -n auto --dist worksteal $(FAST) $(ARGS)

# What an interpreter may change: its processes, sockets, threads and event loops. What databases,
# containers and browsers do is the same on every Python.
PROCESSES := $(addprefix tests/,cli client in_process load pytest_plugin stores/embedded web/pipeline web/transport)

.PHONY: test-python
test-python: $(VENV)/.dev ## Run those beside test-fast that depend on the Python: make test-python PYTHON=… VENV=…
	$(PYTEST) -q -k 'not postgres' $(PROCESSES) $(ARGS)

# An environment of its own: what is locked stays as it is. What fails here is what the next upper
# bound has to wait for.
.PHONY: test-next
test-next: ## Run the protocol's tests on the newest aiohttp, pre-releases included
	$(MAKE) --no-print-directory .venv-next/.dev VENV=.venv-next
	.venv-next/bin/python -m pip --disable-pip-version-check install --quiet --pre --upgrade aiohttp
	.venv-next/bin/python -c 'import aiohttp; print("aiohttp", aiohttp.__version__)'
	.venv-next/bin/python -m pytest -q -n auto tests/web/transport/test_protocol.py $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill, stop and cut off what serves, for long, and look for what is lost
	CHAOS=long $(BIN)/python -m pytest tests/chaos -n 0 -s $(ARGS)

MINUTES ?= 60

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Fuzz the API, its document and its parsers, for so many MINUTES (60)
	$(PIP) --require-hashes -r tests/fuzz/requirements.txt || \
	  echo 'NOT FUZZED: the parsers. atheris does not install on this Python.' >&2
	FUZZ=$$(($(MINUTES) / 4)) $(BIN)/python -m pytest tests/fuzz tests/web/openapi/test_schemathesis.py -n 0 $(ARGS)
	! $(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/python -m tests.fuzz.parsers -max_total_time=$$(($(MINUTES) * 15)) -artifact_prefix=$(VENV)/

.PHONY: check
check: $(VENV)/.dev check-pages ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The pages need no Node, only their checks do.
.PHONY: check-pages
check-pages: ## Check types and style of the pages' JavaScript, where there is Node
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(PAGES)/node_modules/.ready && npm run --silent --prefix $(PAGES) check; \
	elif [ "$$CI" = true ]; then echo "Node is needed to check the pages: apt-get install nodejs npm" >&2; exit 1; \
	else echo "NOT CHECKED: the pages' JavaScript. There is no Node here." >&2; fi

.PHONY: format
format: $(VENV)/.dev ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(BENCH)/.ready ## Measure PiSync beside its peers, and write docs/benchmarks.md (half an hour)
	$(BENCH)/bin/python -m bench $(ARGS)

.PHONY: bench-quick
bench-quick: $(BENCH)/.ready ## Measure the most of it in less than three minutes
	$(BENCH)/bin/python -m bench --quick $(ARGS)

.PHONY: bench-cluster
bench-cluster: $(BENCH)/.ready ## Measure three replicas on one PostgreSQL beside one, in ten minutes
	$(BENCH)/bin/python -m bench.cluster $(ARGS)

.PHONY: bench-compare
bench-compare: $(BENCH)/.ready ## Measure the checkout OLD beside this one
	$(BENCH)/bin/python -m bench.compare $(OLD) $(ARGS)

# Hashes, and no word of where the packages came from. Run it on the oldest Python supported: its
# backports are needed there and harmless on newer ones.
COMPILE := CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --upgrade --generate-hashes \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options --strip-extras --allow-unsafe

.PHONY: lock
lock: $(VENV)/.lock ## Resolve the newest dependencies into requirements*.txt
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) pyproject.toml --output-file requirements-build.txt --only-build-deps --build-deps-for wheel --build-deps-for editable
	$(COMPILE) pyproject.toml --output-file requirements-dev.txt --extra dev --constraint requirements.txt --constraint requirements-build.txt
	$(COMPILE) requirements-audit.in --output-file requirements-audit.txt --constraint requirements-dev.txt
	$(COMPILE) docker/locust/requirements.in --output-file docker/locust/requirements.txt
	$(COMPILE) tests/fuzz/requirements.in --output-file tests/fuzz/requirements.txt
	$(COMPILE) tools/film/requirements.in --output-file tools/film/requirements.txt

# Advisories come from the package index; what is locked is looked at, not what is installed.
.PHONY: audit
audit: $(VENV)/.audit ## Look for known weaknesses in what is locked
	for lock in requirements*.txt docker/locust/requirements.txt; do \
	  $(BIN)/pip-audit --disable-pip --require-hashes --strict --progress-spinner off --requirement "$$lock" || exit 1; done
	if command -v npm >/dev/null; then npm audit --package-lock-only --prefix tools/vendored; \
	else echo "NOT AUDITED: the pages' libraries. There is no npm here." >&2; [ "$$CI" != true ]; fi

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' pisync/__init__.py)

.PHONY: man
man: $(VENV)/.dev ## Write the man pages of the commands, in docs/man
	$(BIN)/python -m tools.man

.PHONY: film
film: $(VENV)/.dev ## Film the dashboard for the README
	$(PIP) --require-hashes -r tools/film/requirements.txt
	$(BIN)/python -m tools.film

# The base image with its digest; see docs/decisions/0020-base-images-by-digest.md.
BASE_IMAGES := docker/base-images.lock

.PHONY: base-images
base-images: ## Write down the newest digest of the image that ours are built from (needs a registry)
	digest=$$(docker buildx imagetools inspect python:3.13-slim --format '{{.Manifest.Digest}}') && \
	  echo "python:3.13-slim@$$digest" >$(BASE_IMAGES) && cat $(BASE_IMAGES)

.PHONY: image
image: ## Build the container image
	docker build --tag $(IMAGE) $(addprefix --build-arg PYTHON_IMAGE=,$(shell cat $(BASE_IMAGES) 2>/dev/null)) \
	  --build-arg VERSION=$(VERSION) --build-arg SOURCE=$(SOURCE) \
	  --build-arg REVISION=$$(git rev-parse --verify HEAD 2>/dev/null || echo unknown) \
	  --build-arg CREATED=$$(git log -1 --format=%cI 2>/dev/null || echo unknown) \
	  --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) .

# Of every file: name, rights, owner, time and content. Docker itself makes those that are left out.
FILES := find / -xdev ! -type d ! -path "/etc/host*" ! -path /etc/mtab ! -path /etc/resolv.conf ! -path /.dockerenv

.PHONY: image-twice
image-twice: ## Build the image twice without the cache, and compare the files
	for n in 1 2; do docker build --quiet --no-cache --tag $(IMAGE)-built-$$n . && \
	  docker run --rm --user 0 --entrypoint sh $(IMAGE)-built-$$n -c \
	    '$(FILES) -printf "%p %m %U %G %T@ %l\n" | sort; $(FILES) -type f -exec sha256sum {} + | sort' \
	    >$(VENV)/image-$$n.txt || exit 1; docker image rm $(IMAGE)-built-$$n >/dev/null; done
	wc -l $(VENV)/image-1.txt; cmp $(VENV)/image-1.txt $(VENV)/image-2.txt

.PHONY: release
release: $(VENV)/.dev ## Release VERSION: changelog, commit, tag, sdist, wheel and image (see CONTRIBUTING.md)
	$(BIN)/python -m tools.release $(VERSION) $(ARGS)

.PHONY: up
up: ## Start the service in a container, and wait until it is healthy
	docker compose up --build --detach --wait

.PHONY: down
down: ## Stop it, and remove what it kept
	docker compose down --volumes

.PHONY: clean
clean: ## Remove everything that these commands made here
	rm -rf $(VENV) $(BENCH) bench/peers/node/node_modules clients/typescript/node_modules clients/typescript/dist clients/typescript/test-results $(PAGES)/node_modules tools/interop/node_modules dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find pisync tests bench tools -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "PiSync needs Python 3.11 or newer (with venv): none found in PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python pyproject.toml requirements.txt requirements-build.txt
	$(PIP) --require-hashes -r requirements.txt -r requirements-build.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.audit: $(VENV)/.dev requirements-audit.txt
	$(PIP) --require-hashes -r requirements-audit.txt
	@touch $@

# Packages for Node as they are locked; wrk must be there already: `apt-get install wrk nodejs npm`.
$(BENCH)/.ready: requirements.txt requirements-build.txt bench/requirements.txt bench/peers/node/package-lock.json
	@[ -n "$(PYTHON)" ] || { echo "PiSync needs Python 3.11 or newer (with venv): none found in PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements.txt -r requirements-build.txt -r bench/requirements.txt
	npm ci --silent --no-audit --no-fund --prefix bench/peers/node
	@touch $@

$(PAGES)/node_modules/.ready: $(PAGES)/package.json $(PAGES)/package-lock.json
	npm ci --silent --no-audit --no-fund --prefix $(PAGES)
	@touch $@

# `make lock` must work while the lock files are missing or out of date.
$(VENV)/.lock: $(BIN)/python
	$(PIP) 'pip-tools>=7.6' 'pip>=26'
	@touch $@
