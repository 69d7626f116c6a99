# Each target sets up what it needs; the second time that takes no time.
#
#   make setup   virtual environment, dependencies, the model of the quick start
#   make demo    the whole loop on a generated sales database; KEEP=1 leaves it up, MODEL=… another base
#   make up      the platform on this machine until Ctrl-C; ARGS="--port 0" and the like go to it
#   make test    the test suite        make lint    style and layers        make proof    the slow proofs
#   make gpu-check   what only a GPU can run
#   make fuzz    10,000 requests made up from the OpenAPI document, on both databases; SEED=…
#   make chaos   every fault, then ten minutes of random ones; SEED=…
#   make bench   all of benchmarks/ against peers, MINUTES=… at most; or one: bench-training,
#                bench-tried, bench-memory, bench-inference, bench-quantised, bench-adapters,
#                bench-latency, bench-profiles, bench-growth, bench-accuracy, bench-serve,
#                bench-queue, bench-api; bench-page writes docs/performance.md from what is there

PYTHON ?= python3
MODEL ?= smollm2-135m
SEED ?= 1
DATA ?= $(if $(TUNEYARD_DATA_DIR),$(TUNEYARD_DATA_DIR)/geoquery)
VENV := .venv
BIN := $(VENV)/bin
# Where the locale is C or POSIX, Python's own text is UTF-8 all the same.
export PYTHONUTF8 := 1
INSTALLED := $(VENV)/.installed

.PHONY: setup demo demo-short up test lint proof fuzz gpu-check chaos chaos-setup
BENCHES := training tried memory inference quantised adapters latency profiles growth accuracy serve
.PHONY: bench bench-data bench-queue bench-api bench-page $(BENCHES:%=bench-%)
.DELETE_ON_ERROR:

# install_seconds, which the demo reports, is both: the packages and the model. The model is looked
# for each time (a moment): all clones of a user share one store.
setup: $(INSTALLED)
	@set -e; begun=$$(date +%s); \
	  $(BIN)/tuneyard models fetch $(MODEL); \
	  [ -e $(VENV)/.fetched ] || { \
	    packages=$$(cat $(VENV)/install_seconds); \
	    echo $$(( packages + $$(date +%s) - begun )) > $(VENV)/install_seconds; \
	    touch $(VENV)/.fetched; }

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tuneyard needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=python3.11" >&2; \
	  exit 2; }
	@set -e; begun=$$(date +%s); \
	  $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --disable-pip-version-check --quiet \
	    -c requirements.lock -e '.[worker,s3,dev]'; \
	  echo $$(( $$(date +%s) - begun )) > $(VENV)/install_seconds; \
	  rm -f $(VENV)/.fetched
	@touch $@

demo: setup
	@$(BIN)/tuneyard demo --model $(MODEL) $(if $(KEEP),--keep)

demo-short: setup
	@$(BIN)/tuneyard demo --model $(MODEL) --short

up: setup
	@exec $(BIN)/tuneyard up $(ARGS)

# On all cores; but whole platforms, whose leases are short, one after the other. In runs of their own,
# so that one's platform is gone before the next: an idle worker has its price too.
QUICK := not slow and not chaos and not gpu
PLATFORMS := tests/e2e tests/faults

test: setup
	@$(BIN)/python -m pytest -n logical --dist loadfile -m "$(QUICK)" $(PLATFORMS:%=--ignore=%)
	@set -e; for folder in $(PLATFORMS); do $(BIN)/python -m pytest -m "$(QUICK)" $$folder; done

# What is guarded because it needs a CUDA device; where there is none, each test says so.
gpu-check: setup
	@$(BIN)/python -m pytest -m gpu

proof: setup
	@$(BIN)/python -m pytest -m slow

fuzz: $(INSTALLED)
	@$(BIN)/python -m tests.fuzz --requests 10000 --seed $(SEED)

chaos: $(INSTALLED) chaos-setup
	@$(BIN)/python -m pytest tests/faults
	@$(BIN)/python -m tests.faults.kill_loop --minutes 10 --seed $(SEED) \
	  --json benchmarks/results/kill-loop.json

# RabbitMQ and a C compiler, by apt-get as root; nothing when they are there.
chaos-setup:
	@tests/faults/install-rabbitmq.sh

# Each goes on where it was stopped; peers are installed when they are first met (llama.cpp needs a
# C++ compiler). DATA is a folder with `db.sqlite` and `examples.jsonl`; MINUTES bounds those with
# models, which take no longer than a round or a training beyond it.
BENCH_MODELS ?= smollm2-135m qwen2.5-coder-0.5b

bench-data:
	@[ -d '$(DATA)' ] || { \
	  echo "DATA='$(DATA)' is no folder: make $(firstword $(MAKECMDGOALS)) DATA=…," \
	    "with db.sqlite and examples.jsonl in it" >&2; \
	  exit 2; }

bench: bench-data setup
	@for model in $(BENCH_MODELS); do $(BIN)/tuneyard models fetch $$model || exit; done
	@$(BIN)/python -m benchmarks $(DATA) --models $(BENCH_MODELS) \
	  $(if $(MINUTES),--minutes $(MINUTES))
	@$(BIN)/python -m benchmarks.queue
	@$(BIN)/python -m benchmarks.api
	@$(BIN)/python -m benchmarks.page

bench-queue bench-api: bench-%: $(INSTALLED)
	@$(BIN)/python -m benchmarks.$*

$(BENCHES:%=bench-%): bench-%: bench-data setup
	@$(BIN)/tuneyard models fetch $(MODEL)
	@$(BIN)/python -m benchmarks.$* $(DATA) --model $(MODEL) $(if $(MINUTES),--minutes $(MINUTES))

bench-page: $(INSTALLED)
	@$(BIN)/python -m benchmarks.page

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
