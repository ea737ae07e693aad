# Everything anybody does here. `make demo` and `make test` work on a fresh machine with Python ≥ 3.11.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODELS := .venv/.models
STUDY := experiments/001_layers_and_logits
EXPERIMENTS := 002_question_types 003_directions_and_wordings 004_calibration
BUNDLED := smollm2-135m gemma-3-270m

# The Jacobian lenses come with layerwise; the others of the bundled models are kept in the cache folder.
SHIPPED := $(foreach model,$(BUNDLED),src/layerwise/lenses/data/$(model)/jacobian)
LENSES := $(foreach model,$(BUNDLED),$(foreach method,ridge tuned r,.venv/.lenses/$(model)/$(method)))
JACOBIAN_TEXT := --self-text --texts 24 --length 64
R_TEXT := --self-text --texts 12 --length 64

.PHONY: help setup demo lenses test test-portable check bench bench-large bench-studies bench-gguf docs pictures experiments experiment-lenses experiment-causes experiment-confirm clean

help:
	@echo "setup        environment and bundled models (quick when nothing changed)"
	@echo "demo         run experiment 001 on the bundled models, and read one prompt under four lenses: some minutes"
	@echo "lenses       fit the bundled models' own lenses (hours; goes on where it was interrupted)"
	@echo "test         run the tests"
	@echo "test-portable  run the numeric tests as on an older processor"
	@echo "check        style, types"
	@echo "bench        speed and memory beside other tools (half an hour), into docs/performance.md"
	@echo "bench-large  models larger than memory: 17 GB of disk, ten minutes"
	@echo "bench-studies  studies beside a loop, whole runs, queries, killed runs: half an hour"
	@echo "bench-gguf   GGUF files by llama.cpp's own converter (PyPI), beside the originals: ten minutes"
	@echo "docs         build the documentation into dist/site; warnings fail"
	@echo "pictures     take the viewer's pictures for README and docs again (needs chromium)"
	@echo "experiments  run all experiments (half an hour) and rewrite the committed reports"
	@echo "experiment-lenses  fit all lenses, and compare them on both models: experiment 005"
	@echo "experiment-causes  patch known capitals with each other on both models: experiment 006"
	@echo "experiment-confirm  exchange what lenses read of two answers on both models: experiment 007"
	@echo "clean        remove the environment and what was built"

setup: $(INSTALLED) $(MODELS)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Fetched and prepared once, into the cache outside this folder; then this takes no time.
$(MODELS): $(INSTALLED)
	$(BIN)/layerwise models pull
	@touch $@

demo: setup runs/lenses/ridge runs/lenses/tuned
	$(BIN)/layerwise run $(STUDY)/study.toml --out runs/001_layers_and_logits --resume
	$(BIN)/layerwise trace "Question: What is the capital of Germany? Answer:" --answer " Berlin" \
		--positions all --lens logit --lens raw --quiet --html runs/berlin.html
	@echo "One prompt, layer by layer: open runs/berlin.html in a browser"
	$(BIN)/layerwise trace "The capital of Germany is" --model smollm2-135m --answer " Berlin" --positions all \
		--lens logit --lens ridge:runs/lenses/ridge --lens tuned:runs/lenses/tuned --lens jacobian \
		--html runs/lenses.html
	@echo "The same under four lenses: open runs/lenses.html in a browser"

# On little text, for a first look.
runs/lenses/%: | setup
	$(BIN)/layerwise lens fit --model smollm2-135m --method $* --self-text --texts 40 --length 64 --out $@

# On text that each model writes: then `--lens ridge`, tuned, jacobian and r mean these.
lenses: $(SHIPPED) $(LENSES)

src/layerwise/lenses/data/%/jacobian: | setup
	$(BIN)/layerwise lens fit --model $* --method jacobian $(JACOBIAN_TEXT) --out $@

.venv/.lenses/%/r: | setup
	$(BIN)/layerwise lens fit --model $* --method jacobian --rules r $(R_TEXT)
	@mkdir -p $(@D) && touch $@

.venv/.lenses/%: | setup
	$(BIN)/layerwise lens fit --model $(*D) --method $(*F) --self-text
	@mkdir -p $(@D) && touch $@

# Two processes with a thread each: the toy models of most tests are too small to share out.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Another processor, as far as this one can act it: AVX2 where there is AVX-512, else what every x86-64 has.
NO_MORE_THAN := $(shell grep -qm1 avx512f /proc/cpuinfo 2>/dev/null && echo avx2 || echo default)
OLDER_default := ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41
OLDER_avx2 := ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2
NUMERIC := tests/properties/test_readout_laws.py tests/properties/test_trace_laws.py tests/conformance tests/unit/readout \
	tests/unit/capture tests/unit/tracing tests/unit/models/residency tests/unit/models/output_head/test_product.py \
	tests/real_models/test_against_transformers.py tests/real_models/test_known_numbers.py

test-portable: setup
	$(OLDER_$(NO_MORE_THAN)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(NUMERIC) --ignore tests/conformance/gguf

check: $(INSTALLED)
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks --refresh --json benchmarks/results.json

bench-large: setup
	$(BIN)/python -m benchmarks.large --refresh --json benchmarks/results-large.json

bench-studies: setup
	$(BIN)/python -m benchmarks.studies --refresh
	$(BIN)/python -m benchmarks.query --refresh
	$(BIN)/python -m benchmarks.killed

bench-gguf: $(INSTALLED)
	$(BIN)/python -m benchmarks.gguf --converter download --json benchmarks/results-gguf.json

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open dist/site/index.html"

pictures: setup
	$(BIN)/python docs/pictures.py

experiments: demo
	for each in $(EXPERIMENTS); do \
		$(BIN)/layerwise run experiments/$$each/study.toml --out runs/$$each --resume || exit 1; done
	for each in 001_layers_and_logits $(EXPERIMENTS); do \
		$(BIN)/layerwise runs report runs/$$each --out experiments/$$each || exit 1; done

# Apart from the others, for its lenses take hours to fit.
experiment-lenses: lenses
	$(BIN)/layerwise lens report ridge tuned jacobian r $(addprefix --model ,$(BUNDLED)) \
		--title "005: where each lens first reads what is known, and what is not said" --out experiments/005_lenses

# Apart from the others, for it is no study: it patches pairs of questions, and a quarter of an hour goes by.
experiment-causes: setup
	$(BIN)/layerwise causal-trace capitals $(addprefix --model ,$(BUNDLED)) --pairs 50 \
		--title "006: where the country stands, and when it moves" --out experiments/006_causal_tracing

# Apart from the others, as 006: a quarter of an hour on two idle cores.
experiment-confirm: setup
	$(BIN)/layerwise confirm capitals $(addprefix --model ,$(BUNDLED)) --lens logit --lens jacobian --limit 60 \
		--title "007: is the layer at which a lens reads the answer causal?" --out experiments/007_lens_and_cause

clean:
	rm -rf .venv runs dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
