# The front door: what a newcomer and CI type. `make` alone lists the targets. Every target installs what it lacks (root or
# sudo, Debian packages of packages.txt, npm and PyPI by name), and a second run does no work twice.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help

MODEL ?= smollm2-135m
HOST ?= 127.0.0.1
PORT ?= 8571
FUZZ_SECONDS ?= 60
ONLY ?=

PROGRAM := build/bin/microtome

.PHONY: help
help: ## list the targets
	@echo "microtome: look inside a transformer"
	echo
	awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	echo
	echo "Variables: HOST and PORT (demo), ONLY=NAME (test, bench: programs whose name contains it), FUZZ_SECONDS (fuzz)"

.PHONY: demo
demo: build ## build, fetch the default model, serve the page; Ctrl-C ends it
	@$(PROGRAM) pull $(MODEL)
	exec $(PROGRAM) serve $(MODEL) --host $(HOST) --port $(PORT)

.PHONY: build
build: ## the program at build/bin/microtome
	@scripts/install_packages build
	scripts/build_web
	scripts/configure build MICROTOME_WEB=ON MICROTOME_TESTS?=OFF MICROTOME_BENCH?=OFF
	ninja -C build microtome
	echo "Built $(PROGRAM)"

.PHONY: test
test: ## build everything and run every test
	@scripts/install_packages build test
	scripts/build_web
	scripts/configure build MICROTOME_WEB=ON MICROTOME_TESTS=ON MICROTOME_BENCH?=OFF
	ninja -C build
	scripts/python_env
	$(PROGRAM) pull $(MODEL) || echo "The default model cannot be fetched: the tests that need it are skipped"
	exec tests/run_all $(if $(ONLY),--only $(ONLY))

.PHONY: bench
bench: ## run the benchmarks; tables and JSON in build/bench/
	@scripts/install_packages build test bench
	scripts/build_web
	scripts/configure build MICROTOME_WEB=ON MICROTOME_TESTS?=OFF MICROTOME_BENCH=ON
	ninja -C build
	$(PROGRAM) pull $(MODEL) || echo "The default model cannot be fetched: the benchmarks that need it are left out"
	exec scripts/run_benchmarks $(ONLY)

.PHONY: pictures
pictures: build ## take the README's pictures again
	@scripts/install_packages test
	$(PROGRAM) pull $(MODEL)
	$(PROGRAM) serve $(MODEL) --port $(PORT) --quiet & server=$$!
	trap 'kill $$server' EXIT
	node scripts/make_pictures.mjs http://127.0.0.1:$(PORT) $(PROGRAM) docs/pictures

.PHONY: findings
findings: build ## write docs/findings/ anew from runs on the default model (long; goes on where it was cut off)
	@$(PROGRAM) pull $(MODEL)
	exec scripts/make_findings.py $(PROGRAM)

.PHONY: lenses
lenses: build ## fit the tuned and the Jacobian lens of the default model (hours; goes on where it was cut off)
	@$(PROGRAM) pull $(MODEL)
	exec scripts/fit_lenses $(PROGRAM) $(MODEL)

.PHONY: fuzz
fuzz: ## fuzz every reader for FUZZ_SECONDS (60) each
	@scripts/install_packages build develop
	CC=clang-14 CXX=clang++-14 scripts/configure build-fuzz MICROTOME_FUZZ=ON MICROTOME_WEB=OFF MICROTOME_TESTS=OFF MICROTOME_BENCH=OFF
	ninja -C build-fuzz fuzzers
	exec scripts/run_fuzzers $(FUZZ_SECONDS)

.PHONY: sanitize
sanitize: ## run the C++ tests under the address and undefined-behaviour sanitizers
	@scripts/install_packages build test
	scripts/configure build-sanitize MICROTOME_SANITIZE=ON MICROTOME_WEB=OFF MICROTOME_TESTS=ON MICROTOME_BENCH=OFF
	ninja -C build-sanitize
	export UBSAN_OPTIONS=print_stacktrace=1
	exec tests/run_all --build build-sanitize --suites unit $(if $(ONLY),--only $(ONLY))

.PHONY: lint
lint: ## check layers, file lengths, formatting (clang-format) and defects (clang-tidy)
	@scripts/install_packages build test develop
	scripts/configure build-lint MICROTOME_WEB=OFF MICROTOME_TESTS=ON MICROTOME_BENCH=OFF
	exec scripts/lint build-lint $(ONLY)

.PHONY: format
format: ## format the C++ sources in place
	@scripts/install_packages develop
	git ls-files -co --exclude-standard '*.cc' '*.h' | xargs clang-format-14 -i

.PHONY: clean
clean: ## remove what was built; models stay
	@rm -rf build build-fuzz build-sanitize build-lint web/dist web/node_modules
