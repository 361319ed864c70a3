.DEFAULT_GOAL := help
.PHONY: broken help install lessons test lab render bench speed quality course site weights tables mutants lock

PYTHON ?= python3
# cpu or gpu: which TensorFlow .venv gets; without a word, the one it has.
EXTRA  ?= $(or $(firstword $(subst -, ,$(patsubst .venv/ready-%,%,$(wildcard .venv/ready-*)))),cpu)
LOCK   := requirements$(patsubst -cpu,,-$(EXTRA)).lock
# Named after the lock's content, so that an unchanged lock installs nothing and an interrupted install starts afresh.
READY  := .venv/ready-$(EXTRA)-$(firstword $(shell cksum 2>/dev/null <$(LOCK)))
RUN    := .venv/bin/python -m
PIP    := $(RUN) pip install --quiet --disable-pip-version-check --no-user
# Why .venv is of no use, or nothing: such an environment does not survive that its folder or its Python is moved.
OURS   := import os, sys; from importlib.util import find_spec as find; \
	sys.exit(not os.path.samefile(find("lessons_lib").origin, "lessons_lib/__init__.py"))
BROKEN := $(if $(wildcard .venv/ready-*),$(shell .venv/bin/python -I -c '$(OURS)' 2>/dev/null || \
	echo "This .venv is of another folder, or of a Python that is gone, so it is made anew."))
# Whatever the locale is; and without settings of other projects, which would send packages elsewhere or bring in others.
export PYTHONUTF8 := 1
export KERAS_BACKEND := tensorflow
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_DRY_RUN PIP_CONSTRAINT PIP_NO_DEPS PIP_NO_BINARY PYTHONHOME PYTHONPATH

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 18
	@echo "Knobs: LESSONS_PROFILE=smoke|slow|cpu|gpu, LESSONS=01 (or 01,02), EXTRA=gpu (TensorFlow for CUDA), PYTHON=python3.12"

install: $(READY) ## make .venv from the lock; the other commands do it by themselves

lessons: $(READY) ## run the course in a copy, build/lessons/, and show it as pages
	@.venv/bin/python tools/lessons.py run

test: $(READY) ## style, unit tests and every lesson in the smoke profile
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/zizmor --offline --quiet .github/workflows
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(RUN) coverage erase
	LESSONS_PROFILE=smoke $(RUN) coverage run -m pytest --numprocesses 2 --dist loadfile --nbmake tests notebooks
	$(RUN) coverage combine --quiet
	$(RUN) coverage report

lab: $(READY) ## open the lessons in JupyterLab
	.venv/bin/jupyter lab --LabApp.default_url=/lab/tree/notebooks

render: $(READY) ## run the lessons and refresh the committed notebooks and their measured times
	@.venv/bin/python tools/lessons.py render

bench: speed quality ## measure speed, then quality (benchmarks/README.md)

speed: $(READY) ## the first half alone: BENCH="--batch 256" and the like
	@.venv/bin/python benchmarks/speed.py $(if $(PEER),--peer $(PEER)) $(BENCH)

quality: $(READY) ## the second half alone: QUALITY="--steps 4200 --seeds 0 1 2 --recipe rate=4e-3"
	@PYTHONPATH=tools .venv/bin/python benchmarks/quality.py $(if $(PEER),--peer $(PEER)) $(QUALITY)

course: $(READY) ## folders and zips for a room: build/course/student and instructor
	@.venv/bin/python tools/course.py

site: $(READY) ## the course as a website: build/site/index.html
	@.venv/bin/python tools/website.py

weights: $(READY) ## train packaged weights anew, one after the other: WEIGHTS="digits classifier"
	@.venv/bin/python tools/weights.py $(WEIGHTS)

tables: $(READY) ## measure what is missing of the lessons' results, hours: LESSONS=08
	@.venv/bin/python tools/tables.py

mutants: $(READY) ## plant faults in the library and list those that its tests miss, hours: MODULES="sampling metrics"
	@$(PIP) "cosmic-ray>=8.7,<9" # in no lock: nothing else needs it
	@.venv/bin/python tools/mutants.py $(MODULES)

lock: $(READY) ## resolve the newest allowed versions into the two lock files
	@.venv/bin/python tools/lock.py

$(READY): $(if $(BROKEN),broken)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, \
	this is %d.%d; name another one: make PYTHON=python3.12" % v[:2])'
	@test -e $(LOCK) || { echo "EXTRA must be cpu or gpu, received $(EXTRA)"; exit 2; }
	$(if $(BROKEN),@echo "$(BROKEN)")
	@echo "Installing $(LOCK) into .venv, once (some minutes)"
	@$(PYTHON) -m venv --clear .venv
	@sed -n '/^setuptools==/,/[^\\]$$/p' $(LOCK) >.venv/build.lock # with which the few packages without a wheel are built
	@$(PIP) --require-hashes --requirement .venv/build.lock
	@$(PIP) --require-hashes --no-build-isolation --requirement $(LOCK)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
