# Needs Python 3.11 or newer (make PYTHON=python3.12 … names another one) and make; no more.
PYTHON ?= python3
OUT ?= results/demo
environment = @$(PYTHON) tools/environment.py
bin = .venv/bin
export QT_QPA_PLATFORM ?= offscreen

.PHONY: help bench demo docs test test-cellpose4 faults lint format clean

help:
	@echo "make demo            install into .venv and analyse sample_data/ into $(OUT)/"
	@echo "make test            install into .venv, check the code and run all tests"
	@echo "make test-cellpose4  the segmentation's tests beside Cellpose 4, in .venv-cellpose4 (5 GB)"
	@echo "make faults          fail or kill every write of the commands that write results (long)"
	@echo "make bench           has it become slower? ratios beside the committed run, in a minute"
	@echo "make docs            the documentation as a site, into site/ (environment: .venv-docs)"
	@echo "make lint            ruff, mypy and the import rules alone"
	@echo "make format          sort imports, format the code, renew docs/settings.md and columns.md"
	@echo "make clean           remove environments, caches and demo results"

demo:
	$(environment) .venv
	$(bin)/napari-tam analyse sample_data/field_*.ome.tif --settings sample_data/settings.yaml --out $(OUT)
	@$(bin)/python tools/show_results.py $(OUT)

test: lint
	@tools/qt_libraries.sh $(bin)/python
	@tools/browser.sh
	$(bin)/python -m pytest -n 2 --timeout 300

lint:
	$(environment) .venv all test
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports --no-logo --no-cache

# Cellpose 4 needs torchvision, which the registry has only for its own build of torch (CUDA on Linux; runs
# on a CPU as well): pip's own settings are left aside, so that no other build is taken.
cellpose4_tests = networks segment puncta pipeline
test-cellpose4:
	@mkdir -p build && grep -v '^cellpose==' constraints.txt > build/cellpose4.txt
	@unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL; \
	PIP_CONFIG_FILE=/dev/null $(PYTHON) tools/environment.py .venv-cellpose4 -- -c build/cellpose4.txt \
		torch torchvision cellpose==4.2.1.1 pytest hypothesis pytest-timeout
	.venv-cellpose4/bin/python -m pytest --timeout 300 $(cellpose4_tests:%=tests/%)

# Ratios, not seconds: an older run on another machine is enough to compare with.
bench:
	$(environment) .venv
	$(bin)/python benchmarks/regression.py

docs:
	$(environment) .venv-docs docs
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

faults:
	$(environment) .venv all test
	NAPARI_TAM_FAULTS=all $(bin)/python -m pytest tests/batches/test_faults.py

format:
	$(environment) .venv all test
	$(bin)/ruff check --fix --select I .
	$(bin)/ruff format .
	$(bin)/python tools/reference_pages.py

clean:
	rm -rf .venv .venv-cellpose4 .venv-docs site build dist results .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
