# Commands from a fresh clone, each doing its own set-up: `make demo` and `make test`. `make serve` and, where there is no
# zoo/, `make play` come after a run.
#   RUN_DIR=runs/digits                    the run that they export and serve
#   PYTHON=/path/to/python3.10            the interpreter of .venv, otherwise the first of 3.11, 3.10, 3.9 that is found
#   PYTEST_ARGS="tests/mcmc -k target"   which tests, otherwise all
#   PYTEST_JOBS=0                           how many files of tests run side by side, otherwise 2; 0: one process

PYTHON ?=
PYTEST_ARGS ?=
PYTEST_JOBS ?= 2
RUN_DIR ?= runs/digits
ZOO ?=
DATA_DIR ?=
DRY ?=
TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHON TF_CPP_MIN_LOG_LEVEL
# Compiled modules are kept: without them each process that imports TensorFlow takes five seconds more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve play zoo test lint bazel-test clean

demo:
	@bash tools/set_up.sh requirements.txt
	.venv/bin/python trainers/main.py --flagfile=trainers/flagfiles/digits.flags

serve:
	@bash tools/set_up.sh requirements.txt
	.venv/bin/python export/main.py --run_dir=$(RUN_DIR) --export_dir=models/stic
	.venv/bin/python serving/server.py --model_name=stic --model_base_path=$(CURDIR)/models/stic --port=8500 --rest_port=8501 \
	  --enable_batching --batching_parameters_file=serving/config/batching_parameters.txt \
	  --monitoring_config_file=serving/config/monitoring_config.txt

# Export of zoo/*, or of RUN_DIR, one server, and a page to draw with at http://127.0.0.1:8501/.
play:
	@bash tools/set_up.sh requirements.txt
	@bash tools/play.sh "$(RUN_DIR)"

# How each model of zoo/ was trained, and trains it again, into runs/zoo/published: ZOO="mnist_score" for some of them,
# DATA_DIR=… for TFDS, DRY=1 to be told alone.
zoo:
	@bash tools/set_up.sh requirements.txt
	@DATA_DIR="$(DATA_DIR)" DRY="$(DRY)" bash tools/zoo.sh $(ZOO)

test:
	@bash tools/set_up.sh requirements-test.txt
	.venv/bin/python -m pytest -n $(PYTEST_JOBS) --dist loadgroup --no-loadscope-reorder $(PYTEST_ARGS)

lint:
	@bash tools/set_up.sh requirements-test.txt
	.venv/bin/python -m ruff check .

bazel-test:
	@bash tools/check_bazel.sh
	@bash tools/set_up.sh requirements-test.txt
	PATH="$(CURDIR)/.venv/bin:$$PATH" bazel test //...

# What the commands above made; never a run folder.
clean:
	rm -rf .venv/bin .venv .uv .bazel bazel-out .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
