# One command each; every one of them sets up what it needs. Wants Python 3.11 to 3.14 and make, nothing else.
# PYTHON names another Python than the one that .ci/find-python finds.
VENV := .venv
BIN := $(VENV)/bin
LOCKS := .ci/requirements
MUTMUT := build/mutants/lib
MINUTES ?= 10
# What dist/install is for, and dist/bundle can write: names as in `bundle installer --help`, or `all`; nothing is the
# platform of this machine. What was asked for the last time stays: `make test` and `make demo` do not build another one.
PLATFORMS ?= $(shell cat build/freeze/platforms 2>/dev/null)
COMPILE = build/lock/bin/uv pip compile --quiet --no-config --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --python-version 3.11 --universal
FREEZER := $(wildcard bundler/freeze/*.py bundler/freeze/*.sh bundler/freeze/notices/*) \
	$(LOCKS)/freeze.txt $(LOCKS)/libz.txt $(LOCKS)/python.txt
IN_INSTALL := $(shell find installer schemas -type f -not -name '*.pyc' 2>/dev/null)
IN_BUNDLE := $(shell find bundler templates -type f -not -name '*.pyc' 2>/dev/null)

# The executables unpack themselves below the home directory; a user id without a name has none.
ifeq ($(shell test -w "$${HOME:-/nonexistent}" && echo yes),)
export HOME := $(CURDIR)/build/home
endif

.DEFAULT_GOAL := help
.PHONY: always help setup test check installer release faults bench fuzz mutants demo lock clean
.DELETE_ON_ERROR:

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.complete ## Makes .venv with every locked dependency; does nothing when nothing changed

# What an ended set-up or a Python that is gone left there would be mixed with the new one.
$(BIN)/python:
	@rm -rf $(VENV)
	@python=$$(sh .ci/find-python $(PYTHON)) && "$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.complete: $(LOCKS)/dev.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCKS)/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test: setup installer ## Runs the whole suite; ARGS="-k name" passes options on
	$(BIN)/python -m pytest $(ARGS)

check: setup ## Runs ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

installer: dist/install dist/bundle dist/waybill-install.1 dist/bundle.1 ## Builds dist/install and dist/bundle, and their manual pages; PLATFORMS=all: for every host

dist/waybill-install.1: dist/install
	@dist/install man > $@

dist/bundle.1: dist/bundle
	@dist/bundle man > $@

release: ## Builds both for hosts, from PYTHON_SOURCE=Python-3.11.N.tgz: one release of Python, or none
	@rm -f dist/install dist/bundle
	@WAYBILL_RELEASE=yes WAYBILL_PYTHON_SOURCE=$(abspath $(PYTHON_SOURCE)) \
		$(MAKE) installer PLATFORMS='$(or $(PLATFORMS),all)'

build/freeze/.complete: $(LOCKS)/freeze.txt $(LOCKS)/libz.txt | $(BIN)/python
	@$(BIN)/python -m bundler.freeze.build wheels $(@D)
	@touch $@

# Written only if it changes: then what was built for other platforms is built again.
build/freeze/platforms: always
	@mkdir -p $(@D)
	@[ -f $@ ] && [ "$$(cat $@)" = '$(PLATFORMS)' ] || echo '$(PLATFORMS)' > $@

# By the Python of .venv: one made again may have another.
dist/install: $(IN_INSTALL) $(FREEZER) $(wildcard $(VENV)/pyvenv.cfg) build/freeze/platforms | setup build/freeze/.complete
	@$(BIN)/python -m bundler.freeze.build install $@ $(PLATFORMS)

dist/bundle: dist/install $(IN_BUNDLE)
	@$(BIN)/python -m bundler.freeze.build bundle $@ dist/install

faults: setup dist/install ## Tries every fault at every operation, and pairs; prints the table. Takes two to three hours
	WAYBILL_FAULTS=all $(BIN)/python -m pytest tests/faults $(ARGS)

bench: setup dist/install ## Measures against cp, sha256sum and docker load
	$(BIN)/python -m tests.bench.bench $(ARGS)

fuzz: setup ## Fuzzes every parser, MINUTES=10 for each; ARGS="tar root" only some
	$(BIN)/python -m tests.fuzz --seconds $$(($(MINUTES) * 60)) --corpus build/fuzz/corpus $(ARGS)

mutants: setup $(MUTMUT)/.complete ## Changes verification and recovery, one line at a time: does a test fail? ARGS="trust journal"
	PYTHONPATH=$(CURDIR)/$(MUTMUT) $(BIN)/python -m tests.mutants $(ARGS)

$(MUTMUT)/.complete: $(LOCKS)/mutants.txt | setup
	@rm -rf $(MUTMUT)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target $(MUTMUT) \
		-r $(LOCKS)/mutants.txt
	@touch $@

demo: ## Tells the whole story with a real product: examples/quickstart
	@$(MAKE) --silent --jobs=2 dist/install
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/quickstart/demo.sh

lock: ## Compiles the dependency locks again
	@python=$$(sh .ci/find-python $(PYTHON)) && "$$python" -m venv build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCKS)/lock.txt
	@$(COMPILE) $(LOCKS)/lock.in -o $(LOCKS)/lock.txt
	@$(COMPILE) pyproject.toml $(LOCKS)/dev.in -o $(LOCKS)/dev.txt
	@$(COMPILE) $(LOCKS)/buildbot.in -o $(LOCKS)/buildbot.txt
	@$(COMPILE) $(LOCKS)/ansible.in -o $(LOCKS)/ansible.txt
	@$(COMPILE) --no-deps $(LOCKS)/salt.in -o $(LOCKS)/salt.txt
	@$(COMPILE) $(LOCKS)/mutants.in -o $(LOCKS)/mutants.txt
	@$(COMPILE) pyproject.toml $(LOCKS)/freeze.in -o $(LOCKS)/freeze.txt
	@$(COMPILE) --no-deps $(LOCKS)/libz.in -o $(LOCKS)/libz.txt

clean: ## Removes everything that make made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
