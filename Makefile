# make demo   the whole line on real data (≤ 15 minutes on two cores, a second run ≤ 1 minute)
# make test   every check and every test (17 to 27 minutes from nothing when it was measured)
SHELL  := /bin/bash
PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/ready
BARE   := .venv-bare/ready

.PHONY: demo demo-results test check archives floors compression search-table replay serving faults bad-requests
.PHONY: bench peers scale gpu image image-bentoml tables format clean

demo: $(READY)
	$(BIN)/toolkit demo
	$(BIN)/python -m pytest -m long --durations=0 tests/test_readme.py

demo-results: demo
	cp runs/demo/report.json benchmarks/results/demo.json
	$(BIN)/python -m benchmarks.tables

test: $(READY) $(BARE) archives check
	TOOLKIT_OFFLINE=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m benchmarks.tables --check
	$(BIN)/python -m pytest tests/test_imports.py

archives: $(READY)
	$(BIN)/toolkit data --fetch

floors: $(READY)
	$(BIN)/python -m benchmarks.floors
	$(BIN)/python -m benchmarks.tables

# a model of each kind, searched under a budget and held against what it must reach (two hours and a quarter)
compression: $(READY)
	$(BIN)/python -m benchmarks.compression
	$(BIN)/python -m benchmarks.tables

# the search against random choice at equal time; the table that both search in takes half an hour to make
search-table: $(READY)
	$(BIN)/python -m benchmarks.search_table runs/demo/baseline trec runs/search-table

replay: $(READY)
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.tables

# the models of the toolkit, baseline and optimized, on every rung of the ladder (half an hour)
bench: $(READY)
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.tables

# the same weights and rows through other runtimes and other servers, each in an environment made here (an hour at most)
peers: $(READY)
	$(BIN)/python -m benchmarks.peers_run
	$(BIN)/python -m benchmarks.tables

# what it costs as the work grows: length, batch, connections, rows to calibrate, threads (seven minutes)
scale: $(READY)
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.tables

# on an NVIDIA GPU: the tests that need one, then every way to run the text and the picture model (exits 3 without one)
gpu:
	benchmarks/gpu.sh $(WHEELS)

# served beside a bare application, plain BentoML, FastAPI, LitServe and MLServer; their environments are made here
serving: $(READY) runs/serving/student
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.tables

runs/serving/student: | $(READY)
	$(BIN)/toolkit distill runs/demo/baseline --data trec --net mlp --force -o runs/serving/student-trained
	$(BIN)/toolkit export runs/serving/student-trained -o $@

# every fault that one machine can inject, beside a server that must fail it
faults: $(READY)
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.tables

# two thousand requests made from the contract; none may end in a 5xx or hang
bad-requests: $(READY)
	$(BIN)/python -m benchmarks.bad_requests runs/demo/pruned-int8 --cases 2000

# an image of ARTIFACT=DIR or BENTO=TAG: built, weighed, run and asked; with docker, podman or buildah
image: $(READY)
	container/build.sh $(or $(ARTIFACT),$(BENTO),trec:latest)

image-bentoml: $(READY)
	container/build.sh $(or $(ARTIFACT),$(BENTO),trec:latest) --bentoml

tables: $(READY)
	$(BIN)/python -m benchmarks.tables

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# everything a developer needs, as pinned
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu,serve,train,optimize,ray,prune,quantize-aware,sign,bench,report,dev]'
	touch $@

# what a user gets from the wheel alone, without one extra; tests/test_wheel.py looks into it
$(BARE): $(READY) $(shell find toolkit bentos -name '*.py' 2>/dev/null)
	rm -rf dist .venv-bare
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(PYTHON) -m venv .venv-bare
	.venv-bare/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	touch $@

clean:
	rm -rf .venv .venv-bare dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
