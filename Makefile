# The commands of daily work; `make help` lists them. CMake does the building, scripts/ the fetching.
.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/bash

ifeq ($(strip $(SAGEPTQ_CACHE)),)
SAGEPTQ_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sage-ptq
endif
export SAGEPTQ_CACHE
export SAGEPTQ_PYTHON := $(SAGEPTQ_CACHE)/venv/bin/python
export YES
export SAGE_CUDA

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 5
PREFIX ?= /usr/local
OUT ?= quickstart
MODEL ?=

sageptq := build/release/bin/sageptq
failed_points := 4
model_option := $(if $(MODEL),--model "$(MODEL)")
want = type -P $(1) > /dev/null || { echo "error: $(1): not found; expected the program of Debian's package $(1); install it: apt-get install $(1)" >&2; exit 3; }
sources = git ls-files --cached --others --exclude-standard '*.cpp' '*.h' '*.cu' '*.cuh' | grep -v '^tests/data/'

.PHONY: help quickstart test test-cuda cuda-bundle fresh ptxas-table build fetch packages packages-test venv model text format tidy install clean clean-venv clean-cache

help:
	@echo "Targets"
	@echo "  quickstart  install what is missing, build, fetch model and text, compare methods on them, show table and picture"
	@echo "  test        build and run all tests: release, AddressSanitizer + UndefinedBehaviorSanitizer, $(FUZZ_SECONDS) s per fuzz target"
	@echo "  test-cuda   run the kernel tests on this machine's NVIDIA GPU, time its operations, and print a report"
	@echo "  cuda-bundle make a folder that does the same on a machine with a driver alone: no compiler, no packages"
	@echo "  fresh       run quickstart and test in a minimal Debian 12 of its own, without and with the CUDA toolkit (needs root; see scripts/fresh.sh)"
	@echo "  build       build the program: $(sageptq)"
	@echo "  fetch       fetch the default model and text into the cache folder (no network once they are there)"
	@echo "  install     install program, presets and bash completion below PREFIX"
	@echo "  format      format the C++ sources with clang-format"
	@echo "  tidy        check the C++ sources with clang-tidy"
	@echo "  ptxas-table write kernels/cuda/ptxas.tsv: registers, spills and memory accesses of every CUDA kernel"
	@echo "  clean       delete build/            clean-venv, clean-cache: delete the Python tools, all that was fetched"
	@echo "Variables (make NAME=VALUE TARGET)"
	@echo "  YES=1            install missing Debian packages without asking (for scripts)"
	@echo "  MODEL=DIR        quickstart: another Hugging Face model directory"
	@echo "  OUT=DIR          quickstart: where runs and picture go (now: $(OUT))"
	@echo "  PREFIX=DIR       install: where to (now: $(PREFIX))"
	@echo "  SAGE_CUDA=ON|OFF   build, test: with or without the CUDA backend; otherwise with it where nvcc is found"
	@echo "  JOBS=N           parallel compilations and tests (now: $(JOBS))"
	@echo "  FUZZ_SECONDS=N   test: time for each fuzz target (now: $(FUZZ_SECONDS))"
	@echo "  SAGEPTQ_CACHE=DIR  model, text and Python tools (now: $(SAGEPTQ_CACHE))"
	@echo "  SAGEPTQ_DATA=DIR   evaluation data; WikiText-2 is used when DIR/wikitext-2 holds it (now: $(or $(SAGEPTQ_DATA),not set))"

# A sweep with failed points (exit code $(failed_points)) still has a table and a picture; make reports the failure after them.
quickstart: packages build $(if $(MODEL),,model) text
	@status=0; $(sageptq) sweep experiments/configs/quickstart.yaml $(model_option) -o "$(OUT)" > /dev/null || status=$$?; \
	if [ $$status -ne 0 ] && [ $$status -ne $(failed_points) ]; then exit $$status; fi; \
	$(sageptq) report "$(OUT)/sweep.json" && \
	"$(SAGEPTQ_PYTHON)" paper_figures/pareto.py "$(OUT)/sweep.json" -o "$(OUT)/pareto.png" > /dev/null && \
	echo && echo "picture: $(abspath $(OUT))/pareto.png" && exit $$status

test: packages-test
	@JOBS=$(JOBS) FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/test.sh

# Exit status 3 of the script (make: Error 3): no device, nothing was tested.
test-cuda: packages
	@JOBS=$(JOBS) scripts/test_cuda.sh

# Exit status 3 of the script: no nvcc. OUT of quickstart is not meant.
cuda-bundle: packages
	@OUT= JOBS=$(JOBS) scripts/cuda_bundle.sh

# FRESH, FRESH_STEPS, FRESH_DIR, FRESH_KEEP and FRESH_MIRROR reach the script by the environment.
fresh:
	@scripts/fresh.sh

# For all architectures, in a build of its own.
ptxas-table:
	@cmake --preset release -B build/ptxas --log-level=WARNING -DSAGE_CUDA=ON "-DSAGE_ONLY=core;kernels" > /dev/null
	@cmake --build build/ptxas --parallel $(JOBS) --target sage_cuda_compiled
	@python3 scripts/ptxas_table.py build/ptxas --update kernels/cuda/ptxas.tsv

packages:
	@scripts/setup.sh packages build

packages-test:
	@scripts/setup.sh packages test

# Configuring is repeated only by Ninja itself, when a CMake file changes.
build: packages
	@test -f build/release/build.ninja$(if $(SAGE_CUDA), && false) || cmake --preset release --log-level=WARNING $(if $(SAGE_CUDA),-DSAGE_CUDA=$(SAGE_CUDA))
	@cmake --build --preset release --parallel $(JOBS) --target sageptq

fetch: model text

venv:
	@scripts/setup.sh venv

model: venv
	@"$(SAGEPTQ_PYTHON)" scripts/fetch_model.py

text: venv
	@"$(SAGEPTQ_PYTHON)" scripts/fetch_text.py

format:
	@$(call want,clang-format)
	@$(sources) | xargs clang-format -i

tidy: packages-test
	@$(call want,clang-tidy)
	@test -f build/release/build.ninja || cmake --preset release --log-level=WARNING
	@$(sources) | grep '\.cpp$$' | grep -v '^tests/fuzz/' | xargs -P $(JOBS) -n 4 clang-tidy -p build/release --quiet

install: build
	@cmake --install build/release --prefix "$(PREFIX)"

clean:
	rm -rf build

clean-venv:
	rm -rf "$(SAGEPTQ_CACHE)/venv"

clean-cache:
	rm -rf "$(SAGEPTQ_CACHE)"
