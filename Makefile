# Two commands from a fresh clone, each doing its own set-up: `make demo` and `make test`.
#   PYTHON=/path/to/python3.10            the interpreter of .venv, otherwise the first of 3.11, 3.10, 3.9 that is found
#   PYTEST_ARGS="tests/sampler -k target"   which tests, otherwise all

PYTHON ?=
PYTEST_ARGS ?=
TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHON TF_CPP_MIN_LOG_LEVEL

.PHONY: demo test lint bazel-test clean

demo:
	@bash tools/set_up.sh requirements.txt
	.venv/bin/python trainers/main.py --flagfile=trainers/flagfiles/digits.flags

test:
	@bash tools/set_up.sh requirements-test.txt
	.venv/bin/python -m pytest $(PYTEST_ARGS)

lint:
	@bash tools/set_up.sh requirements-test.txt
	.venv/bin/python -m ruff check .

bazel-test:
	@bash tools/check_bazel.sh
	@bash tools/set_up.sh requirements-test.txt
	PATH="$(CURDIR)/.venv/bin:$$PATH" bazel test //...

# What the commands above made; never a run folder.
clean:
	rm -rf .venv/bin .venv .bazel bazel-out .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
