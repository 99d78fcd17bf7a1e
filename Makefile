# Everything one does with Antiphon. `make` alone lists the targets.
# The first run of a target makes .venv and installs what it needs; later runs start at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
# More arguments for pip when it installs torch, such as --index-url or --find-links.
TORCH_ARGS ?=
# More arguments for the program of the target: make demo ARGS="--port 9000".
ARGS ?=

BIN := $(VENV)/bin
MADE := $(VENV)/.made
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep -E '^torch==' requirements.txt)

# program:package, or :package where there is no program to look for
DEMO_SYSTEM := ffmpeg:ffmpeg
TEST_SYSTEM := $(DEMO_SYSTEM) espeak-ng:espeak-ng flite:flite festival:festival \
	:festvox-kallpc16k :festvox-kdlpc16k :festvox-us-slt-hts chromium:chromium

PAGE_TESTS = $(wildcard $(addprefix tests/integration/,test_page*.py test_panel*.py test_call*.py))

# Recipe and folder of `make train`.
CONFIG ?= cpu-full
ROOT ?= trained

.PHONY: help setup setup-dev demo serve train test test-page check fix docker clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## Make .venv and install what running needs

setup-dev: $(INSTALLED_DEV) ## The same, and what tests, linters and training need

demo: $(INSTALLED) ## Talk to the embedded model: server and page together, until Ctrl-C
	@$(call system_packages,$(DEMO_SYSTEM),optional)
	@exec $(BIN)/antiphon demo $(ARGS)

serve: $(INSTALLED) ## The model server alone
	@exec $(BIN)/antiphon serve $(ARGS)

train: $(INSTALLED_DEV) ## Train a whole model from nothing into ROOT=trained, with the recipes CONFIG=cpu-full
	@$(call system_packages,$(TEST_SYSTEM),required)
	@exec $(BIN)/antiphon train all --config $(CONFIG) --root $(ROOT) --jobs 2 $(ARGS)

test: $(INSTALLED_DEV) ## Linters, types, house rules and all tests
	@$(call system_packages,$(TEST_SYSTEM),required)
	@$(MAKE) check
	$(BIN)/python -m pytest -q $(ARGS)

test-page: $(INSTALLED_DEV) ## The browser tests of the page alone
	@$(call system_packages,$(TEST_SYSTEM),required)
	$(BIN)/python -m pytest -q $(PAGE_TESTS) $(ARGS)

check: $(INSTALLED_DEV) ## Linters, types and house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house_rules.py

fix: $(INSTALLED_DEV) ## Let ruff mend and lay out what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docker: ## Build the image antiphon:cpu (docs/docker.md has more)
	docker build --tag antiphon:cpu $(ARGS) .

clean: ## Delete .venv and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(MADE):
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed: apt-get install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than Python 3.11; name a newer one with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "make: venv is missing: apt-get install python3-venv, then try again" >&2; exit 1; }
	@touch $@

$(INSTALLED): $(MADE) requirements.txt pyproject.toml
	@echo "Installing what Antiphon needs; the first time takes some minutes ..."
	@$(PIP) install --quiet $(TORCH_ARGS) $(TORCH)
	@$(PIP) install --quiet -r requirements.txt
	@$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED) requirements-dev.txt
	@$(PIP) install --quiet -r requirements-dev.txt
	@touch $@

# $(call system_packages,LIST,required|optional): on Debian as root, install what is missing;
# elsewhere name it in one line, and stop if it is required.
define system_packages
missing=(); \
for entry in $(1); do \
	program=$${entry%%:*}; package=$${entry#*:}; \
	if [ -n "$$program" ]; then command -v "$$program" > /dev/null || missing+=("$$package"); \
	elif command -v dpkg > /dev/null; then dpkg -s "$$package" > /dev/null 2>&1 || missing+=("$$package"); fi; \
done; \
if [ $${#missing[@]} -gt 0 ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing system packages: $${missing[*]} ..."; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends "$${missing[@]}"; } > /dev/null \
			|| { echo "make: apt-get could not install $${missing[*]}" >&2; [ $(2) = optional ]; }; \
	else \
		echo "make: missing on this machine: $${missing[*]} (Debian: sudo apt-get install $${missing[*]})" >&2; \
		[ $(2) = optional ]; \
	fi; \
fi
endef
