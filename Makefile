# Every target sets up what it needs; nothing is installed by hand first.
PYTHON ?= python3
VENV   := .venv/bin
ARGS   ?=
# Each worker starts a broker and a database of its own. One more than two cores: a third of the time a test only waits.
JOBS   ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench accuracy chaos fuzz format lock audit extras docs screenshots clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# Asked for by its name it tries again what could not be had lately; as the beginning of another target it does not.
setup:  ## everything a run needs: Python packages, TimescaleDB, Mosquitto, footage
	@$(PYTHON) -m local.bootstrap $(if $(filter setup,$(MAKECMDGOALS)),--again)

demo: setup  ## street video and sensors in, dispatched tickets out: http://127.0.0.1:8080
	@$(VENV)/drumtower demo $(ARGS)

test:  ## set everything up and run the tests (ARGS: passed to pytest)
	@$(PYTHON) -m local.bootstrap --with browser --with rtsp --with checkers --with promtool --with training
	@$(VENV)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

check: setup  ## types, style, who may import whom
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

audit: setup  ## known vulnerabilities of what the locks pin, and withdrawn releases; says so where nobody can be asked
	@$(VENV)/python -m local.audit $(ARGS)

extras: setup  ## install each tier alone, in a venv of its own, and start its command
	@$(VENV)/python -m local.extras

bench: setup  ## all benchmarks, as a table of ratios against their limits
	@$(VENV)/python -m benchmarks

accuracy: setup  ## how good the models are: docs/accuracy.md (needs the evaluation data)
	@$(VENV)/python -m models.accuracy
	@$(VENV)/python -m benchmarks.detection --page
	@$(VENV)/python -m benchmarks.blur --page
	@$(VENV)/python -m benchmarks.yardsticks --page

chaos: setup  ## 60 random kills, bad links, full disks and wrong clocks: nothing may be lost (ARGS: --seed N, --kills N)
	@$(VENV)/python -m benchmarks.chaos $(ARGS)

fuzz: setup  ## 1,000,000 spoilt messages: each is stored, or kept with a reason (ARGS: --seed N, --messages N)
	@$(VENV)/python -m benchmarks.fuzz $(ARGS)

docs: setup  ## write the generated documents again
	@$(VENV)/python -m local.docs

screenshots:  ## take the README's pictures of this build
	@$(PYTHON) -m local.bootstrap --with browser
	@$(VENV)/python -m local.demo.screenshots

format: setup  ## put the code in order
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

lock:  ## pin the dependencies again (needs uv)
	@requirements/compile.sh

clean:  ## remove what set-up made here (the cache of downloads stays)
	@rm -rf .venv .drumtower
