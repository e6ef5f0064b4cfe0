# `make` lists the targets. Everything is installed into .venv, from requirements.lock.
#
# torch: a machine without nvidia-smi takes the CPU build, since the CUDA build weighs gigabytes. pip's own setting
# `find-links` (a folder of wheels) is passed on to uv, which does not read it; where there is one it has to hold
# the CPU wheel, and otherwise uv asks PyTorch's index.

PYTHON ?= python3
UV_VERSION := 0.13.9
MUTMUT_VERSION := 3.8.1
TORCH_VERSION := 2.13.0
VENV := .venv
BIN := $(VENV)/bin
LINKS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
UV_LINKS := $(foreach link,$(LINKS),--find-links $(link))
TORCH_BACKEND := $(if $(or $(LINKS),$(shell command -v nvidia-smi)),,--torch-backend=cpu)
EXTRAS := --extra gcp --extra harvest --extra train --extra gguf --extra hub --extra fast --extra tensorboard --extra newspaper --extra test

.DEFAULT_GOAL := help
.PHONY: help install venv demo release test test-long test-lowest test-newest test-engines interrupts mutants bench check-gguf docs picture lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

install: $(VENV)/.installed ## make .venv and install the locked versions (once)
venv: install

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: $(BIN)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --python $(BIN)/python $(UV_LINKS) $(TORCH_BACKEND) -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps -e .
	touch $@

demo: install ## the whole chain on an embedded web, offline: links to a trained model
	$(BIN)/webtext demo

test: install ## lint, types and tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy webtext pipeline trainer docs/make.py docs/sbom.py
	$(BIN)/pytest -n 2 -m "not long"

test-long: install ## the tests marked long as well
	$(BIN)/pytest -n 2

# The machine's torch, as `make install` takes it, goes in first and stays: each of its releases weighs gigabytes where
# the CPU build is not to be had. TORCH_VERSION=2.10.0 takes another.
test-lowest: resolution := lowest-direct
test-lowest: ## the tests with the lowest versions that pyproject.toml states, in .venv-lowest
test-newest: resolution := highest
test-newest: ## the tests with the newest versions that pyproject.toml allows, in .venv-newest
test-lowest test-newest: test-%: $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python .venv-$*
	echo torch==$(TORCH_VERSION) > .venv-$*/constraints.txt
	$(BIN)/uv pip install --python .venv-$*/bin/python $(UV_LINKS) $(TORCH_BACKEND) torch==$(TORCH_VERSION)
	$(BIN)/uv pip install --python .venv-$*/bin/python $(UV_LINKS) $(TORCH_BACKEND) --resolution $(resolution) \
	  --constraint .venv-$*/constraints.txt $(EXTRAS) --requirements pyproject.toml
	$(BIN)/uv pip install --python .venv-$*/bin/python --no-deps --editable .
	.venv-$*/bin/pytest -n 2 -m "not long"

test-engines: install ## builds by Flink and Spark on loopback, with workers killed; STAGES=all kills one in each stage
	STAGES=$(STAGES) PYTHONPATH=. $(BIN)/pytest tests/real_engines.py -rs --durations=0

interrupts: install ## real builds interrupted at MOMENTS moments (100: about half an hour), and what they come to
	PYTHONPATH=. $(BIN)/python -m tests.interruptions $(or $(MOMENTS),100)

mutants: install ## which changes of the code the tests notice (PACKAGE=pipeline/dedup: of one package only); hours
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(VENV)/mutmut mutmut==$(MUTMUT_VERSION)
	PYTHONPATH=. nice unshare --map-root-user --pid --fork --mount-proc \
	  $(BIN)/python -m tests.mutation $(PACKAGE)  # processes of its own: what a change kills is one of these

bench: install ## measurements (they assert nothing); DUMP=file, PAGES=folder and DOCUMENTS=file add those that need data
	PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_dedup.py
	PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_workers.py $(PAGES)
	PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_links.py --links 0.2
	$(if $(DUMP),PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_links.py $(DUMP))
	PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_crawler.py
	$(if $(PAGES),PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_extraction.py $(PAGES))
	$(if $(DOCUMENTS),PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_encoding.py $(DOCUMENTS))

check-gguf: install ## the GGUF export of WORK (the demo's) against llama.cpp, which comes built in a package
	$(BIN)/uv pip install --python $(BIN)/python --target $(VENV)/llama xllamacpp==2026.10.11549
	PYTHONPATH=.:$(VENV)/llama $(BIN)/python tests/benchmarks/check_gguf.py $(or $(WORK),webtext-demo) $(TEXTS)

docs: install ## fill in what docs/ and CONTRIBUTING.md say of the code
	PYTHONPATH=. $(BIN)/python docs/make.py

picture: install ## the README's picture of a report, from the demo's folder: make demo, then this; needs Chromium
	PYTHONPATH=. $(BIN)/python docs/picture.py webtext-demo

release: install ## dist/: wheel, sdist, bill of materials (CycloneDX) and checksums; a commit makes the same bytes each time
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/hatchling build -d dist
	PYTHONPATH=. $(BIN)/python docs/sbom.py dist/webtext.cdx.json
	cd dist && sha256sum * > SHA256SUMS

# What torch's CUDA build brings stays out of the lock: torch names its exact versions, and the CPU build needs none.
lock: $(BIN)/uv ## resolve pyproject.toml anew into requirements.lock, for every Python and system that it allows
	sed '/^#/!d' requirements.lock > $(VENV)/new.lock
	echo torch==$(TORCH_VERSION) > $(VENV)/constraints.txt
	$(BIN)/uv pip compile --quiet --universal pyproject.toml --python-version 3.11 $(EXTRAS) $(UV_LINKS) \
	  $(if $(LINKS),,--torch-backend=cpu) -c $(VENV)/constraints.txt --upgrade \
	  --no-header --no-annotate --no-emit-find-links --no-emit-index-url -o $(VENV)/resolved.lock
	sed -E '/^(nvidia|cuda|triton)\b/d; s/^torch==.*/torch==$(TORCH_VERSION)/' $(VENV)/resolved.lock | uniq >> $(VENV)/new.lock
	mv $(VENV)/new.lock requirements.lock

clean: ## remove .venv, caches and the demo's folder
	rm -rf $(VENV) .venv-lowest .venv-newest .mypy_cache .ruff_cache .pytest_cache .hypothesis .engines dist build webtext-demo
