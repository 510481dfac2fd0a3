"""How fast the installed wheel is, by ratios, in CPU time: a slow wheel passes everything else.

The one file of tests that measures; it is no part of the suite.  What is compared takes turns, the
median of the rounds counts, and of three attempts the best: something else on the machine can spoil
one of them, and a wheel that was built wrong spoils all three.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

import pytest

from bench.scan import contenders, run
from bench.scan.contenders import COMPILED, PYTHON, STANDARD
from tests.support.implementations import STDLIB, Implementation, load
from tests.wheel.conftest import Ask

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()

ATTEMPTS = 3
ROUNDS = 9
# Of CPU time, for each contender in each round.
SECONDS = 0.03

# How often the scanner has to be as fast as its twin; it is 15 to 70 times.
TIMES_SCANNER = 3

# How often the cutting loop has to be as fast as that of asynchat, with short lines, in receives of
# the default size.  A line costs asynchat 1.1 us there.  Here it costs 0.11 us on 3.11, which makes
# 9.1 to 10.5 times, and 0.14 later, where compiled code pays more for each call of a hook: 6.7 to
# 8.7 times.  Without optimisation it is 4.1 to 4.7 times.
TIMES_ASYNCHAT = 8 if STDLIB else 6

# And as that of the twin, with longer lines, where the hooks count for less.  Built with the
# interpreter's own flags it is 5.4 to 6.5, and 3.8 to 4.0 on 3.14 and 3.15, where the twin is
# faster; without optimisation 2.2 to 2.4.
TIMES_TWIN = 3.2

# How many times the time of the modules that it stands on the import may take.  It is 1.5 on 3.11
# and 3.13, and up to 1.68 beside other work on 3.14 and 3.15: their own modules load faster.
TIMES_IMPORT = 1.6 if sys.version_info < (3, 14) else 1.75

SHORT = run.lines(8, b"\r\n", 65536)
LONG = run.lines(1024, b"\r\n", 65536)

# Prints the standard library's modules that the import of fastchat loads, in the order in which
# it does; then, each in a process of its own, what it takes to import modules.
STANDS_ON = """
import sys
before = set(sys.modules)
import fastchat
names = [
    name for name, module in sys.modules.items()
    if name not in before
    and name.partition(".")[0] != "fastchat"
    and getattr(getattr(module, "__spec__", None), "loader", None)
]
print(*names)
"""
IMPORT = """
import importlib, sys, time
began = time.process_time()
for name in sys.argv[1:]:
    importlib.import_module(name)
print(time.process_time() - began)
"""


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest) -> None:
    if hasattr(request.config, "workerinput"):
        pytest.fail("what is measured here has to run alone: leave out --numprocesses")


@pytest.fixture(scope="module")
def loaded() -> dict[str, Implementation]:
    names = {COMPILED: "cython", PYTHON: "python", STANDARD: "model"}
    return {name: load(implementation) for name, implementation in names.items()}


def over(task: run.Task, name: str) -> float:
    """The time of the contender *name* over that of what is compiled."""
    seconds = run.time_task(task, ROUNDS, SECONDS).seconds
    return median(b / a for a, b in zip(seconds[COMPILED], seconds[name], strict=True))


def attempts(measure: Callable[[], float], is_enough: Callable[[float], bool]) -> list[float]:
    """What was measured, the last time with a result that is enough, or ``ATTEMPTS`` times."""
    found: list[float] = []
    while len(found) < ATTEMPTS and not (found and is_enough(found[-1])):
        found.append(measure())
    return found


@pytest.mark.compiled
def test_scanner(loaded: dict[str, Implementation]) -> None:
    def measure() -> float:
        ways = {
            name: contenders.with_find_terminators(loaded[name].scanner.find_terminators)
            for name in (COMPILED, PYTHON)
        }
        return over(run.search_task(LONG, ways), PYTHON)

    found = attempts(measure, lambda ratio: ratio >= TIMES_SCANNER)
    assert max(found) >= TIMES_SCANNER, found


@pytest.mark.compiled
@pytest.mark.skipif(
    not HAS_GIL, reason="there nobody gets what is compiled unasked: what it locks costs too much"
)
@pytest.mark.parametrize(
    ("given", "other", "bound"),
    [
        pytest.param(SHORT, STANDARD, TIMES_ASYNCHAT, id="asynchat"),
        pytest.param(LONG, PYTHON, TIMES_TWIN, id="twin"),
    ],
)
def test_cutting(
    given: run.Input, other: str, bound: float, loaded: dict[str, Implementation]
) -> None:
    def measure() -> float:
        ways = {name: contenders.with_handle_read(loaded[name]) for name in (COMPILED, other)}
        return over(run.cut_task(given, ways), other)

    found = attempts(measure, lambda ratio: ratio >= bound)
    assert max(found) >= bound, found


def test_import(ask: Ask) -> None:
    names = ask(STANDS_ON).split()

    def seconds(*names: str) -> float:
        return float(ask(IMPORT, *names))

    def measure() -> float:
        return median(seconds("fastchat") / seconds(*names) for _ in range(ROUNDS))

    found = attempts(measure, lambda ratio: ratio <= TIMES_IMPORT)
    assert min(found) <= TIMES_IMPORT, found
