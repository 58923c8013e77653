# `make` lists the tasks. Everything runs inside the active environment, or inside .venv when none is active.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
SCALE ?= laptop
CORES ?= 2

ACTIVE := $(or $(VIRTUAL_ENV),$(filter-out base,$(CONDA_DEFAULT_ENV)))
ifeq ($(ACTIVE),)
  BIN := .venv/bin/
  READY := .venv/.ready
  export PATH := $(CURDIR)/.venv/bin:$(PATH)
else
  BIN :=
  READY := $(subst $() ,\ ,$(or $(VIRTUAL_ENV),$(CONDA_PREFIX)))/.blossom-ready
endif
# images of containers set it; without stored bytecode every stage compiles the libraries anew, 20 s of computing each
unexport PYTHONDONTWRITEBYTECODE
# huge pages for the allocator: the output head runs about 1.2 times faster
export GLIBC_TUNABLES := glibc.malloc.hugetlb=1

.PHONY: help
help:  ## list the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv

$(READY): requirements.txt requirements-cuda.txt pyproject.toml $(if $(ACTIVE),,.venv/bin/python)
	@echo 'Installing the locked environment (2 GB; about 3 minutes) ...'
	@# torch for CPUs, where pip's own settings lead to it: the next line then keeps it
	@$(BIN)python -m pip install --quiet --no-compile --require-hashes --no-deps -r <(echo 'torch==2.13.0+cpu --hash=$(TORCH_CPU)') 2>/dev/null || true
	@$(BIN)python -m pip install --quiet --no-compile --require-hashes --no-deps -r requirements.txt
	@$(BIN)python -c 'import importlib.metadata as m, sys; sys.exit("+cpu" in m.version("torch"))' || exit 0; \
	  $(BIN)python -m pip install --quiet --no-compile --require-hashes --no-deps -r requirements-cuda.txt
	@PYTHONWARNINGS=ignore $(BIN)python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch "$@"

.PHONY: setup
setup: $(READY)  ## install the environment into .venv, or into the active one

# what is free now, so that two stages run side by side only when both fit
MEMORY = $(shell awk '/MemAvailable/ {print int($$2 / 1000)}' /proc/meminfo 2>/dev/null || sysctl -n hw.memsize | awk '{print int($$1 / 1e6)}')
BATCH = $(BIN)snakemake -c$(CORES) --nolock --rerun-incomplete --quiet all --resources mem_mb=$(MEMORY)

.PHONY: run
run: setup  ## run every stage (SCALE=laptop), then write outputs/laptop/report.html
	@$(BATCH) -- outputs/$(SCALE)/report.html

.PHONY: ablation
ablation: setup  ## run the recipes of params/ablation.yaml (SCALE=laptop), then write outputs/laptop/ablation.html
	@$(BATCH) --configfile params/ablation.yaml -- outputs/$(SCALE)/ablation.html

.PHONY: sweep
SWEEP ?= crossover
sweep: setup  ## run a sweep of params/sweeps (SWEEP=crossover), then write its comparison into outputs/sweeps
	@$(BATCH) -- outputs/sweeps/$(SWEEP)/comparison-$(SCALE)/comparison.html

.PHONY: reference check-reference
reference: setup  ## copy metrics and figures of a finished `make ablation` into outputs/reference
	$(BIN)python -m blossom.report reference --scale $(SCALE)
check-reference: setup  ## compare the last `make ablation` with outputs/reference
	$(BIN)python -m blossom.report check --scale $(SCALE)

.PHONY: book
book: setup  ## convert the notebooks of a finished run into an HTML book: outputs/laptop/book/index.html
	$(BIN)python -m blossom.report book outputs/$(SCALE)

.PHONY: chat
chat: setup  ## chat with the base and the tuned model of the newest run (SCALE=, RECIPE= choose another)
	$(BIN)python -m blossom.generation $(if $(filter file,$(origin SCALE)),,--scale $(SCALE)) $(if $(RECIPE),--recipe $(RECIPE))

.PHONY: test
test: setup  ## run all tests and the style checks (about 15 minutes on two cores)
	$(BIN)python -m pip check
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)nbstripout --verify notebooks/*.ipynb
	OMP_NUM_THREADS=1 $(BIN)python -m pytest -q -n $(CORES) --dist loadfile --no-loadscope-reorder

.PHONY: mutations
mutations: setup  ## break the code on purpose, place by place, and fail where no test notices (half an hour)
	OMP_NUM_THREADS=1 $(BIN)python -m pytest -v -n 2 tests/mutations.py

.PHONY: fuzz
FUZZ ?= 2000
fuzz: setup  ## read FUZZ=2000 damaged files at every place that reads one; fail at a traceback or a hang (2 minutes)
	OMP_NUM_THREADS=1 BLOSSOM_FUZZ=$(FUZZ) $(BIN)python -m pytest -q -s tests/errors/test_fuzz.py

.PHONY: hub-rehearsal
hub-rehearsal: setup  ## run qwen2.5-0.5b, llama2-7b and llama2-13b with tiny models on a stand-in of the hub (10 minutes)
	OMP_NUM_THREADS=1 $(BIN)python -m pytest -v -m rehearsal tests/test_hub.py

.PHONY: lab
lab: setup  ## open JupyterLab here: the notebooks are in notebooks/, results in outputs/
	$(BIN)jupyter lab

.PHONY: bench bench-vocab bench-train bench-eval
bench: bench-vocab bench-train bench-eval  ## compare with other tools on this machine (installs them: 7 GB)
bench-vocab: setup  ## compare vocabulary merging, tokenizing and initial rows with other tools
	$(BIN)python benchmarks/bench_vocab.py
bench-train: setup  ## compare pretraining and instruction tuning with other tools
	$(BIN)python benchmarks/bench_train.py
bench-eval: setup  ## compare scores with lm-eval's command line, item by item (needs BLOSSOM_ASSETS)
	$(BIN)python benchmarks/bench_eval.py

.PHONY: gpu-check
gpu-check: setup  ## test and measure a CUDA card in under 10 minutes: benchmarks/results/gpu.md
	$(BIN)python benchmarks/gpu_check.py

.PHONY: lock
# torch 2.13.0+cpu, which no package index but PyTorch's own has: cp311, Linux x86-64 (https://download.pytorch.org/whl/cpu)
TORCH_CPU := sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
lock:  ## update the locks from requirements.in, keeping versions where possible (needs pip install uv)
	cat requirements.txt requirements-cuda.txt > lock.part
	uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --no-header --no-annotate --generate-hashes \
	  requirements.in -o lock.part
	sed -E '/$(TORCH_CPU)/d; s/^(torch==.*)$$/\1\n    --hash=$(TORCH_CPU) \\/' lock.part | awk '/^[a-z]/ {cuda = /^(nvidia-|cuda-|triton)/; \
	  left = /== .emscripten./} !left {print > (cuda ? "requirements-cuda.part" : "requirements.part")}'
	mv requirements.part requirements.txt && mv requirements-cuda.part requirements-cuda.txt && rm lock.part

.PHONY: renew-lock
renew-lock:  ## update the locks to the newest versions that requirements.in allows
	$(MAKE) lock UPGRADE=--upgrade

.PHONY: clean
clean:  ## delete all runs in outputs, except the reference run
	find outputs -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +
