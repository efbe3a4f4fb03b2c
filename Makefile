# From a clean clone to a result in one command. The environment is made on first use and brought up to date whenever
# pyproject.toml or constraints.txt changes. Needs Python 3.11 and make; uses uv where it is installed.
#
#   make train ARGS="env=hopper seed=2"     ARGS goes to the program that the target runs
#   make test PYTHON=/path/to/python3.11    another interpreter, read when .venv is made

VENV   := .venv
PY     := $(VENV)/bin/python
ARGS   ?=
UV     := $(shell command -v uv 2>/dev/null)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help train extras test check format smoke sweep dashboard bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## */\1	/p' Makefile | expand -t 10

# --- environment ------------------------------------------------------------------------------------------------------
# Two stamps, each written only when everything before it worked. `core` is what a run needs; `dev` adds every extra and
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

# $(call install,WHAT): make .venv unless a usable one is there, then install WHAT as pinned.
define install
set -e; rm -f $(DEV) $(CORE); \
if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'make: no Python 3.11 or newer found: install python3.11, or name one with PYTHON=/path/to/python3.11' >&2; exit 1; }; \
	rm -rf $(VENV); \
	"$(PYTHON)" -m venv --without-pip $(VENV); \
fi; \
echo 'Installing $(1) into $(VENV) (a few minutes the first time)'; \
if [ -t 1 ]; then quiet=; else quiet=-q; fi; \
if [ -n "$(UV)" ]; then \
	uv pip install $$quiet --python $(PY) -c constraints.txt -e '$(1)'; \
	uv pip check $$quiet --python $(PY); \
else \
	$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --default-pip >/dev/null; \
	$(PY) -m pip install $$quiet --no-input --disable-pip-version-check -c constraints.txt -e '$(1)'; \
	$(PY) -m pip check; \
fi; \
$(PY) -c 'import sys; sys.version_info < (3, 12) or print("Note: PyBullet has no wheel for this Python; the Bullet tasks need Python 3.11.")'
endef

# --- run --------------------------------------------------------------------------------------------------------------

train: $(CORE)  ## the main job: PPO on a PyBullet Ant, exact KL, advantages normalised by group
	$(PY) -m ppo.train kl=exact norm=group $(ARGS)

smoke: $(CORE)  ## a few updates on a probe task and on Ant: does it run at all?
	$(PY) -m ppo.train logger=none env=probe num_steps=64 total_steps=4096 $(ARGS)
	$(PY) -m ppo.train logger=none env=ant num_steps=64 total_steps=4096 $(ARGS)

sweep: $(CORE)  ## a small example: two KL estimators, two seeds each
	$(PY) -m ppo.train -m kl=exact,k1 stop=minibatch target_kl=0.01 seed=1,2 logger=none env=probe env.task=target num_steps=64 total_steps=4096 $(ARGS)

extras: $(DEV)  ## every extra: MuJoCo, video, plots, export, dashboards, searches, and the tools of developers

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
