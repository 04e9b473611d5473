# make demo            sets everything up and runs the whole loop on this machine
# make demo IMAGE=...  the same with your files: DICOM, PNG, JPEG, WebP or TIFF; SEX=F or SEX=M for pictures
# make test            sets everything up and runs every check
# PYTHON=python3.12 names another interpreter; 3.11 or later is needed.

# the first that runs, is new enough and can make a virtual environment
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.13 python3; do \
  $$candidate -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$candidate && break; done)
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?=
# processes that run the tests; each file stays in one of them. Threads of PyTorch that wait do so
# asleep: spinning, they would take the cores from each other.
PROCESSES ?= 2
SEX ?=

.PHONY: demo test bench faults check format readme viewer screenshots libraries clean

demo: $(VENV)/.serve-ready libraries
	$(BIN)/boneage demo $(if $(SEX),--sex $(SEX)) $(IMAGE)

test: $(VENV)/.develop-ready libraries check
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --max-worker-restart 0

# every figure beside a peer or a limit; NAME=receive for one. Nothing else should run meanwhile.
bench: $(VENV)/.develop-ready libraries
	$(BIN)/python -m pip install --quiet --editable ".[dev,bench]"
	$(BIN)/python -m tests.benchmarks $(NAME)

# the fault campaigns in their long form: an hour and a half; NAME=kill for one, SEED=7 for other faults
faults: $(VENV)/.develop-ready libraries
	$(BIN)/python -m tests.campaigns.faults $(NAME) $(if $(SEED),--seed $(SEED)) --json faults.json

# every check but the tests, in the order of their haste
check: $(VENV)/.develop-ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

# the table of the release, from its card into the README
readme: $(VENV)/.develop-ready
	$(BIN)/python -m tests.readme_table

# OHIF (50 MB from npm) for the tests in tests/viewers; chromium and Node.js (18 or later) must be there
viewer: .viewer/.ready

.viewer/.ready:
	@for program in node npm chromium; do command -v $$program >/dev/null || { \
	  echo "The viewer needs $$program (Debian: sudo apt-get install chromium nodejs npm)."; exit 1; }; done
	mkdir -p .viewer
	cd .viewer && npm pack --silent @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz && rm ohif-app-3.13.2.tgz
	cd .viewer && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --silent playwright-core@1.55.0
	@touch $@

# the phantom's result in viewers, into deploy/docs
screenshots: $(VENV)/.develop-ready viewer
	$(BIN)/python -m tests.viewers.screenshots

format: $(VENV)/.develop-ready
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# what OpenCV needs on a bare Debian
libraries: $(VENV)/.serve-ready
	@$(BIN)/python -c "import cv2" 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libgl1 libglib2.0-0; \
	  fi; \
	  $(BIN)/python -c "import cv2" || { \
	    echo "OpenCV needs two system libraries. Install them, then run make again:"; \
	    echo "  sudo apt-get install libgl1 libglib2.0-0"; \
	    exit 1; \
	  }; \
	}

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo "Python 3.11 or later with venv is needed (Debian: python3 python3-venv);"; \
	  echo "name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve-ready: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): a few minutes at the first time, PyTorch is large."
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/.develop-ready: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): a few minutes at the first time, PyTorch is large."
	$(BIN)/python -m pip install --editable ".[dev]"
	@touch $@ $(VENV)/.serve-ready

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo-out
