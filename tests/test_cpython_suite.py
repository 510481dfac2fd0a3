"""CPython's own tests, unmodified, on fastchat.

On 3.11 these are the tests of ``asyncore`` and ``asynchat`` themselves, and those of the clients
whose servers stand on them: ftplib, poplib, smtplib, and ``smtpd``.  Later versions keep the two
modules in ``test.support``, for the tests of the clients; there fastchat takes their place.

Each module of tests runs in a process of its own, all of them at once, since they mostly wait.  No
resource is enabled: nothing leaves the machine.

Where the interpreter comes without its tests these are skipped, unless
FASTCHAT_REQUIRE_TEST_PACKAGE=1.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.implementations import FASTCHAT

# Some have the package and not the tests.
HAS_TESTS = all(importlib.util.find_spec(name) for name in ("test", "test.test_smtplib"))

pytestmark = pytest.mark.skipif(
    not HAS_TESTS and os.environ.get("FASTCHAT_REQUIRE_TEST_PACKAGE") != "1",
    reason="this interpreter comes without its tests",
)


BOTH = ["asyncore", "asynchat"]


@dataclass(frozen=True)
class Suite:
    """A module of tests: how many run at least, and which of the two modules it imports itself.

    *only* names the class or test that uses them, where the others would take long.
    """

    module: str
    at_least: int
    imports: list[str]
    only: str = ""


SUITES = [
    Suite("test_ftplib", 90, BOTH),
    Suite("test_poplib", 65, BOTH),
    Suite("test_smtplib", 75, ["asyncore"]),
    Suite("test_logging", 1, ["asyncore"], only="SMTPHandlerTest"),
    Suite("test_ssl", 1, ["asyncore"], only="ThreadedTests.test_asyncore_server"),
]
if sys.version_info < (3, 12):
    SUITES += [
        Suite("test_asyncore", 90, ["asyncore"]),
        Suite("test_asynchat", 20, BOTH),
        Suite("test_smtpd", 140, ["asyncore"]),
    ]

# How long all of them may take, in seconds, before what still runs is a failure.
LIMIT = 200

# The one test that looks at the name of the module in a repr().
EXPECTED_TO_FAIL = {"test_asyncore": {"test.test_asyncore.DispatcherTests.test_repr"}}

# Puts fastchat in place, runs the tests, and says in one line of JSON what came of it.
PROGRAM = """
import json, sys, unittest, warnings
import test.support, fastchat

module, only = sys.argv[1:]
old = {"asyncore": fastchat.asyncore, "asynchat": fastchat.asynchat}
if sys.version_info < (3, 12):
    fastchat.install()
else:
    for name, replacement in old.items():
        sys.modules[f"test.support.{name}"] = replacement
        setattr(test.support, name, replacement)
test.support.use_resources = []

tests = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}.{only}".rstrip("."))
result = unittest.TextTestRunner(sys.stderr, warnings="default").run(tests)
bad = result.failures + result.errors
print(json.dumps({
    "implementation": fastchat.implementation,
    "ran": result.testsRun - len(result.skipped),
    "failed": [test.id() for test, _ in bad] + [test.id() for test in result.unexpectedSuccesses],
    "imports": [
        name for name, replacement in old.items()
        if getattr(sys.modules[f"test.{module}"], name, None) is replacement
    ],
    "others": [
        name for name, other in sys.modules.items()
        if name.rpartition(".")[2] in old and other not in old.values()
    ],
}))
"""


@dataclass(frozen=True)
class Runs:
    """A process for each module and implementation, by these names; all have been started."""

    processes: dict[tuple[str, str], subprocess.Popen[str]]
    end: float

    def result(self, module: str, implementation: str) -> tuple[dict[str, Any], str]:
        """What one of them found, and what it had to say about it."""
        rest = max(1, self.end - time.monotonic())
        output, errors = self.processes[module, implementation].communicate(timeout=rest)
        assert output.strip(), errors
        return json.loads(output.splitlines()[-1]), errors


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Runs]:
    wanted = ["python"] if request.config.getoption("--no-extension") else FASTCHAT
    processes: dict[tuple[str, str], subprocess.Popen[str]] = {}
    try:
        for suite in SUITES:
            for implementation in wanted:
                directory = tmp_path_factory.mktemp(f"{suite.module}-{implementation}")
                processes[suite.module, implementation] = start(suite, implementation, directory)
        yield Runs(processes, time.monotonic() + LIMIT)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def start(suite: Suite, implementation: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, suite.module, suite.only],
        cwd=directory,
        env=os.environ | {"FASTCHAT_IMPLEMENTATION": implementation},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("implementation", FASTCHAT)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.module)
def test_cpythons_tests_pass(runs: Runs, suite: Suite, implementation: str) -> None:
    result, errors = runs.result(suite.module, implementation)
    assert set(result["failed"]) == EXPECTED_TO_FAIL.get(suite.module, set()), errors
    assert result["ran"] >= suite.at_least, errors
    # And this is what they ran on.
    assert result["implementation"] == implementation
    assert result["imports"] == suite.imports
    assert result["others"] == []
