# From a clean clone to a result in one command. The environment is made on first use and brought up to date whenever
# pyproject.toml or constraints.txt changes. Needs make and a Python from 3.11 to 3.14; uses uv where it is installed.
#
#   make train ARGS="env=hopper seed=2"     ARGS goes to the program that the target runs
#   make test PYTHON=/path/to/python3.12    another interpreter, read when .venv is made
#   make train TORCH=cpu                    PyTorch without CUDA, gigabytes less, read when .venv is made

VENV   := .venv
PY     := $(VENV)/bin/python
ARGS   ?=
PYTHON ?=
UV     := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help train extras docs test check format smoke sweep dashboard bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## */\1	/p' Makefile | expand -t 10

# --- environment ------------------------------------------------------------------------------------------------------
# Two stamps, each written only when everything before it worked. `core` is what a run needs; `dev` adds the extra `all` and
# the tools. Going from one to the other installs only the difference.

CORE := $(VENV)/.core
DEV  := $(VENV)/.dev

$(CORE): pyproject.toml constraints.txt
	@$(call install,.)
	@touch $(CORE)

$(DEV): pyproject.toml constraints.txt
	@$(call install,.[all$(comma)dev])
	@touch $(CORE) $(DEV)

# pip reads its folder of wheels from PIP_FIND_LINKS, uv does not: without it, a machine that keeps a CPU build of torch
# there would download the CUDA one.
comma := ,
empty :=
space := $(empty) $(empty)
ifneq ($(and $(UV),$(PIP_FIND_LINKS)),)
UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
export UV_FIND_LINKS
endif

ifeq ($(TORCH),cpu)
export UV_TORCH_BACKEND := cpu
export PIP_EXTRA_INDEX_URL := $(PIP_EXTRA_INDEX_URL) https://download.pytorch.org/whl/cpu
endif

# 3.11 first, which uv can fetch: PyBullet has wheels for no later one.
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3.11 uv python3.12 python3.13 python3.14 python3)
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
HAS_BULLET := $(PY) -c 'import pybullet' >/dev/null 2>&1

# $(call install,WHAT): make .venv unless a usable one is there, then install WHAT as pinned. Where that brings no
# PyBullet, for want of a wheel, build it: with numpy in sight, so that its camera gives arrays. If that fails, MuJoCo's
# robots are there in place of Bullet's.
define install
set -e; rm -f $(DEV) $(CORE); \
if ! $(PY) -c '$(RECENT)' 2>/dev/null; then \
	rm -rf $(VENV); \
	for python in $(PYTHONS); do \
		[ "$$python" != uv ] || python=$$(uv python install -q 3.11 && uv python find 3.11) || continue; \
		"$$python" -c '$(RECENT)' && "$$python" -m venv --without-pip $(VENV) && break; \
	done 2>/dev/null; \
	[ -x $(PY) ] || \
		{ echo 'make: no Python 3.11 or newer found: install one, or name it with PYTHON=/path/to/python3.11' >&2; exit 1; }; \
fi; \
echo 'Installing $(1) into $(VENV) (a few minutes the first time)'; \
if [ -t 1 ]; then quiet=; else quiet=-q; fi; \
if [ -n "$(UV)" ]; then \
	pip() { uv pip "$$@" $$quiet --python $(PY); }; \
else \
	$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --default-pip >/dev/null; \
	pip() { $(PY) -m pip --no-input --disable-pip-version-check "$$@" $$quiet; }; \
fi; \
pip install -c constraints.txt -e '$(1)'; \
if ! $(HAS_BULLET); then \
	echo "PyBullet has no wheel for $$($(PY) -V) here: building it, once, some eight minutes of one core (CXX= leaves it out)"; \
	{ $(CXX) --version && pip install -c constraints.txt setuptools && \
		pip install -c constraints.txt --no-build-isolation pybullet; } >$(VENV)/pybullet.log 2>&1 && $(HAS_BULLET) || { \
		echo 'PyBullet could not be built (it takes a C++ compiler and the headers of Python; $(VENV)/pybullet.log)'; \
		pip install -c constraints.txt -e '.[mujoco]'; }; \
fi; \
pip check
endef

# The robot of a run that names none, where there is no PyBullet.
ROBOT = $(if $(filter env=% experiment=% +experiment=% +sweep=% init=% resume=%,$(ARGS)),,$(shell $(HAS_BULLET) || { \
	echo 'No PyBullet here, see $(VENV)/pybullet.log: the run takes HalfCheetah of MuJoCo in place of AntBullet' >&2; \
	echo env=mujoco; }))

# --- run --------------------------------------------------------------------------------------------------------------

train: $(CORE)  ## the main job: PPO on a PyBullet Ant, exact KL, advantages normalised by group
	$(PY) -m ppo.train $(ROBOT) $(ARGS)

smoke: $(CORE)  ## a few updates on a probe task and on Ant: does it run at all?
	$(PY) -m ppo.train logger=none env=probe num_steps=64 total_steps=4096 $(ARGS)
	$(PY) -m ppo.train logger=none $(or $(ROBOT),env=ant) num_steps=64 total_steps=4096 $(ARGS)

sweep: $(CORE)  ## a small example: two KL estimators, two seeds each
	$(PY) -m ppo.train -m kl=exact,k1 seed=1,2 logger=none env=probe env.task=target num_steps=64 total_steps=4096 $(ARGS)

extras: $(DEV)  ## MuJoCo, video, plots, export, dashboards, searches and developers' tools; not box2d, Ray, mjlab

docs: $(DEV)  ## the pages of docs/ as a site in outputs/site, with an API reference; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build -q
	@echo outputs/site/index.html

dashboard: $(DEV)  ## a web page over the runs in outputs/, live while they train
	$(PY) scripts/dashboard.py $(ARGS)

bench: $(CORE)  ## speed beside other frameworks (ARGS="train --peers sb3"); alone: a gradient step
	$(PY) scripts/bench.py $(or $(ARGS),update --quick)

# --- quality ----------------------------------------------------------------------------------------------------------
# One thread a process: the tests run side by side, one worker a core.

test: $(DEV)  ## the tests (the long ones too: ARGS="-m 'slow or not slow'")
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --dist worksteal $(ARGS)

check: $(DEV)  ## ruff (rules and format) and ty (types); changes nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m ty check

format: $(DEV)  ## put the code into ruff's format and fix what it can
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

clean:  ## remove the environment, caches and build leftovers; outputs/ stays
	rm -rf $(VENV) .cache .hypothesis .pytest_cache .ruff_cache build dist *.egg-info
	@for d in conf envs ppo scripts tests; do \
		[ ! -d $$d ] || find $$d -name __pycache__ -type d -prune -exec rm -rf {} +; done
