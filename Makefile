# Every target sets up what it needs: a virtual environment in .venv, the packages, and a mongod. It writes only inside
# this folder, to the cache of pip and, for the zoo's CIFAR-10, to the folder of FiftyOne's zoo.
#
#   make demo        train three networks on real images, print and draw what they find hard
#   make app         open the App on the demo's results
#   make test        lint, types and tests (under 10 minutes on 2 quiet cores)
#   make test-slow   the tests that take minutes each
#   make bench       every stage against the usual way (25 minutes; QUICK=1: five)
#   make format      format the code
#   make clean       delete everything that the targets made
#
#   CIFAR10=DIR      a CIFAR-10 image tree, DIR/{train,test}/<class>/*, for demo, tests and benchmarks
#   SAMPLES= EPOCHS= MODELS="resnet20 mobilenet"    change the demo;  PORT= the App's port

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := .demo

.PHONY: setup demo app test test-slow bench lint format clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml scripts/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m scripts.demo --out $(DEMO) $(if $(CIFAR10),--cifar10 "$(CIFAR10)") \
		$(if $(SAMPLES),--samples $(SAMPLES)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(MODELS),--models $(MODELS))

app: $(INSTALLED)
	$(BIN)/python -m scripts.app --out $(DEMO) $(if $(PORT),--port $(PORT))

test: lint
	$(BIN)/python -m pytest -m "not slow" -n logical --dist loadfile --no-loadscope-reorder

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow -n logical --dist worksteal

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.suite $(if $(CIFAR10),--cifar10 "$(CIFAR10)") $(if $(QUICK),--quick)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) .artifacts .mypy_cache .ruff_cache .pytest_cache
