# Everything a contributor runs, one word each.  Wants Python 3.11 or newer with venv, a C compiler,
# git and make; the rest is installed into $(VENV), and with it the package, as a user would get it:
# not editable, so what runs is what a wheel holds.
#
#   make test PYTHON=python3.13              another interpreter (the environment is made anew)
#   make test PYTEST_ARGS="-x -k hangup"     part of the suite
#   make test FASTCHAT_BUILD_EXTENSION=no PYTEST_ARGS=--no-extension
#   make test-asan SLICE=yes                 the part that drives the compiled code hardest

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
# The releases of pyftpdlib for test-pyftpdlib; all that it knows, if this is empty.
PYFTPDLIB ?=
# How long fuzz looks.
FUZZ_SECONDS ?= 600
# How many connections each implementation has to serve in leaks.
CONNECTIONS ?= 100000
# The dependency group to test with; PyPy and Pythons without a GIL can do with "suite" only.
TEST_GROUP ?= test
# A folder of interpreters for wheels, besides those of PATH and pyenv; build/pythons, if this is
# empty, where tools/all-pythons keeps those that it makes.
PYTHONS ?=
# Versions, as 3.11, whose suite `make wheels` leaves out.
SUITE_DONE ?=
# A folder of wheels that were made elsewhere, among which pip then has to choose, too.
BESIDE ?=
# "yes" keeps what instructions counts, for later runs to be compared with.
WRITE ?= no
# "yes" runs, instead of the whole suite, the files that drive the compiled code hardest.
SLICE ?= no
# An interpreter that was configured --with-pydebug; Debian and Ubuntu have it in python3-dbg.
DEBUG_PYTHON ?= python3-dbg
# "yes" and not the default: here a build that fails must be seen.
FASTCHAT_BUILD_EXTENSION ?= yes
# What the compiler builds into the extension to find faults; see setup.py.
FASTCHAT_SANITIZE ?=
export FASTCHAT_BUILD_EXTENSION FASTCHAT_SANITIZE PYTHONS

VENV_PYTHON := $(VENV)/bin/python
PIP := $(VENV_PYTHON) -m pip --disable-pip-version-check

# The stamps have what they depend on in their names, so another interpreter, or another kind of
# build, is noticed.
venv := $(VENV)/.made-with-$(subst /,_,$(PYTHON))
comma := ,
installed := $(VENV)/.installed-$(FASTCHAT_BUILD_EXTENSION)$(subst $(comma),-,$(FASTCHAT_SANITIZE:%=-%))
sources := $(wildcard src/fastchat/*.py src/fastchat/_core/*.p* src/fastchat/aio/*.py \
    src/fastchat/*.p[yx][dix] src/fastchat/py.typed) pyproject.toml setup.py MANIFEST.in

# Beside it are the interpreters of tools/all-pythons, and what release-check checks.
built := build/lib* build/temp.* build/bdist.*

hardest := lines lines_costs overrides shape shown signals_raised signals_changes signals_waker \
    regressions_data regressions_loop regressions_maps chat_input chat_hooks chat_shapes \
    coalescing_held coalescing_queue traces threads lines_behind agenda timers channel_corners \
    channel_deadlines channel_ends channel_interrupted channel_lines channel_losses channel_misuse \
    channel_oracle channel_points channel_replies channel_taken_back
# By file, because some files build the package once for all their tests.
# A worker that crashed is not replaced: pytest-xdist can then wait for ever.
suite := --numprocesses auto --dist loadfile --max-worker-restart 0 \
    $(if $(filter yes,$(SLICE)),$(hardest:%=tests/test_%.py))

# What a tracer slows down by minutes; all that it runs, other tests run, too.
untraced := --ignore tests/test_leaks.py

.PHONY: help demo test test-dev test-debug test-asan .run-sanitized test-all-pythons test-gevent \
    test-eventlet test-pyftpdlib lint coverage .run-traced asan leaks traces fuzz instructions linear \
    hostile bench bench-quick sdist-wheel wheels release-check types clean
.DELETE_ON_ERROR:

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

demo: $(installed) ## build the package and see it work
	$(VENV_PYTHON) tools/demo.py

test: $(installed) $(VENV)/.group-$(TEST_GROUP) ## run the whole suite
	$(VENV_PYTHON) -m pytest $(suite) $(PYTEST_ARGS)

test-dev: $(installed) $(VENV)/.group-$(TEST_GROUP) ## run it in the interpreter's development mode
	PYTHONDEVMODE=1 $(VENV_PYTHON) -m pytest $(suite) $(PYTEST_ARGS)

test-debug: ## run it on a debug build of the interpreter, DEBUG_PYTHON
	$(DEBUG_PYTHON) -c 'import sys; sys.gettotalrefcount()'
	$(MAKE) test PYTHON=$(DEBUG_PYTHON) VENV=$(VENV)-debug PYTEST_ARGS='-m "not build" $(PYTEST_ARGS)'

test-asan: ## run it under the address and undefined-behaviour sanitizers
	$(MAKE) .run-sanitized VENV=$(VENV)-asan FASTCHAT_SANITIZE=address,undefined

# What the tests marked "build" make is not what is looked at here.
.run-sanitized: $(installed) $(VENV)/.group-$(TEST_GROUP)
	$(VENV_PYTHON) tools/asan.py --pytest -m "not build" $(suite) $(PYTEST_ARGS)

test-all-pythons: ## run it on CPython 3.11 to 3.15, PyPy and without a GIL; makes what is missing
	tools/all-pythons

# In one process each, because what they patch is what workers would work with.  hypothesis imports
# its plugins, trio's among them, which cannot be imported where eventlet has patched.
test-gevent: ## run it where gevent has patched, before the import of fastchat and after
test-eventlet: ## run it where eventlet has
test-gevent test-eventlet: export HYPOTHESIS_NO_PLUGINS := 1
test-gevent test-eventlet: $(installed) $(VENV)/.group-test
	$(VENV_PYTHON) -m pytest -p tests.support.patched --patched $(@:test-%=%)-before $(PYTEST_ARGS)
	$(VENV_PYTHON) -m pytest -p tests.support.patched --patched $(@:test-%=%)-after $(PYTEST_ARGS)

test-pyftpdlib: $(installed) $(VENV)/.group-pyftpdlib ## run pyftpdlib's own suite on fastchat
	$(VENV_PYTHON) tools/pyftpdlib_suite.py $(PYFTPDLIB)

lint: types ## check style, types and workflows
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint src
	$(VENV)/bin/zizmor --offline --quiet .github
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

# Of all sources, and then of the package that is installed, as programs have it.
types: $(installed) $(VENV)/.group-test $(VENV)/.group-lint ## check the types alone
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m pyright --pythonpath $(VENV_PYTHON)
	FASTCHAT_REQUIRE_MYPY=1 FASTCHAT_REQUIRE_PYRIGHT=1 \
	    $(VENV_PYTHON) -m pytest tests/test_types.py $(PYTEST_ARGS)

# What beside compiled modules runs as Python, and then the suite where nothing is compiled.
coverage: $(installed) $(VENV)/.group-test ## run the suite without the extension; below 100 % of branches it fails
	$(VENV_PYTHON) -m coverage erase
	$(MAKE) .run-traced PYTEST_ARGS='-m "compiled and not build"'
	$(MAKE) .run-traced PYTEST_ARGS='tests/test_backend.py tests/test_shown.py'
	$(MAKE) .run-traced VENV=$(VENV)-pure FASTCHAT_BUILD_EXTENSION=no \
	    PYTEST_ARGS='--no-extension $(untraced) $(PYTEST_ARGS)'
	$(VENV_PYTHON) -m coverage combine --quiet
	$(VENV_PYTHON) -m coverage report

.run-traced: $(installed) $(VENV)/.group-test
	$(VENV_PYTHON) -m coverage run -m pytest -m "not build" $(suite) $(PYTEST_ARGS)

asan: $(installed) $(VENV)/.group-test ## search all small inputs under the address sanitizer
	$(VENV_PYTHON) tools/asan.py

leaks: $(installed) ## look for what 100,000 connections leave behind
	$(VENV_PYTHON) tools/leaks.py --connections $(CONNECTIONS)

traces: $(installed) $(VENV)/.group-test ## compare implementations and loops over random scripts
	$(VENV_PYTHON) -m tests.random.traces --count 100000
	$(VENV_PYTHON) -m tests.random.calls --count 20000
	$(VENV_PYTHON) -m tests.random.loops --count 20000
	$(VENV_PYTHON) -m tests.random.interrupted --count 1000
	$(VENV_PYTHON) -m tests.random.lines --count 250000
	$(VENV_PYTHON) -m tests.random.all_lines --length 6 --between 5

# What reaches something new is added to the corpus, which is under version control.
fuzz: $(installed) $(VENV)/.group-fuzz ## let a fuzzer look for what a line buffer does wrong
	$(VENV_PYTHON) -m tests.fuzz.lines tests/fuzz/corpus -max_len=120 \
	    -max_total_time=$(FUZZ_SECONDS)

instructions: $(installed) $(VENV)/.group-test ## count instructions per line; WRITE=yes keeps them
	$(VENV_PYTHON) -m bench.instructions $(if $(filter yes,$(WRITE)),--write)

linear: $(installed) ## show that the work is linear in the bytes
	$(VENV_PYTHON) bench/linear.py

# Beside it nothing else should run: some bounds are of time.
hostile: $(installed) $(VENV)/.group-bench ## let hostile clients at a server; four minutes
	$(VENV_PYTHON) -m bench.hostile --beside uvloop --beside streams

bench: $(installed) $(VENV)/.group-bench ## measure everything; less than 15 minutes
	$(VENV_PYTHON) -m bench all

bench-quick: $(installed) $(VENV)/.group-bench ## measure what matters most; less than two
	$(VENV_PYTHON) -m bench all --quick

sdist-wheel: $(venv) $(VENV)/.group-package ## make the sdist and both kinds of wheel, in dist/
	rm -rf dist $(built)
	$(VENV_PYTHON) -m build
	FASTCHAT_BUILD_EXTENSION=no $(VENV_PYTHON) -m build --wheel

wheels: $(venv) $(VENV)/.group-package ## make a wheel for each Python here, and prove it, in dist/
	$(VENV_PYTHON) -m tools.wheels $(SUITE_DONE:%=--suite-done %) $(BESIDE:%=--beside %)

# PyPI takes a release once.  pyroma would have an address of the authors, who have none in common.
release-check: $(venv) $(VENV)/.group-package ## make the sdist and the pure wheel, and check them as PyPI will
	rm -rf build/release
	FASTCHAT_BUILD_EXTENSION=no $(VENV_PYTHON) -m build --outdir build/release
	$(VENV_PYTHON) -m twine check --strict build/release/*
	$(VENV)/bin/pyroma --min=10 --skip-tests=AuthorEmail build/release/*.tar.gz
	$(VENV)/bin/validate-pyproject pyproject.toml
	! test -e .git || $(VENV)/bin/check-manifest

clean: ## remove all that the above have left
	rm -rf .venv $(VENV) $(VENV)-asan $(VENV)-debug $(VENV)-pure .nox build dist src/*.egg-info htmlcov .coverage .coverage.* \
	    .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(venv):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "fastchat needs Python 3.11 or newer; '$(PYTHON)' says:" \
	        "$$($(PYTHON) -V 2>&1 | head -n 1)"; \
	    echo "Name another one: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3"; exit 1; } >&2
	@$(PYTHON) -m venv --clear $(VENV) || { \
	    echo "'$(PYTHON)' cannot make a virtual environment."; \
	    echo "Debian and Ubuntu keep what it lacks in python3-venv."; exit 1; } >&2
	@touch $@

without = make $(or $(MAKECMDGOALS),demo) FASTCHAT_BUILD_EXTENSION=no$(if \
    $(findstring test,$(MAKECMDGOALS)), PYTEST_ARGS=--no-extension)

# What setuptools has in build/ goes first: it would pack whatever an earlier build left.
$(installed): $(venv) $(sources)
	rm -rf $(built) $(VENV)/.installed-*
	@$(if $(filter yes,$(FASTCHAT_BUILD_EXTENSION)),$(VENV_PYTHON) tools/compiler.py "$(without)")
	$(PIP) install --quiet --force-reinstall .
	@touch $@

# pip learnt to read groups in 25.1.
$(VENV)/.group-%: $(venv) pyproject.toml
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --group $*
	@touch $@
