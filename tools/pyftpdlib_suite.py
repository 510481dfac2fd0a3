"""Run pyftpdlib's own test suite on fastchat: ``make test-pyftpdlib``.

pyftpdlib is the largest program on asyncore that is still looked after, and overrides most of what
can be.  Its releases are fetched from PyPI, with their tests, and these are run as they are: once
on the asyncore and asynchat that the release brings along (of the standard library, of pyasyncore,
or private copies of its own), and then on each implementation of fastchat, with output held and
without.  No test that passes on the former may be lost on the latter.

Rules kept here:

- each run has a copy of the release to itself, since the tests list the directory they run in;
- each run says on which modules it was, and a run on others than it should be is an error;
- a test that differs is run again, alone, as often on either side: lost is what then fails more
  often on fastchat, and what fails on neither is named all the same;
- a suite that hangs is killed, and what it had not finished has not passed;
- the old names come from ``python -m fastchat run``, as for any program.

Exit status 0: no test is lost; 1: one is; 2: the suite could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The sdists, each with its hash: what is run is what was looked at.  The first is the newest
# release; the second is the last one with copies of its own, which it uses from Python 3.12 on.
RELEASES = {
    "2.2.0": "4ba0642078792df63dd3b2e9c8f838f2a3ecf428c7518d5921c0530d53512acf",
    "1.5.10": "8dbdeb1215bcba2fb748dae31ffdb1ab008540c28d13b3704e178f368a087128",
}

# A whole suite takes half a minute; with fewer tests than this it is not the suite.
PATIENCE = 300
ENOUGH = 600

# How often a test that differs is run again, and how many are too many to be chance.
AGAIN = 5
MANY = 25

OWN = "its own copies"
SIDES: dict[str, dict[str, str]] = {
    OWN: {},
    "fastchat, compiled": {"FASTCHAT_IMPLEMENTATION": "cython"},
    "fastchat, compiled, output held": {
        "FASTCHAT_IMPLEMENTATION": "cython",
        "FASTCHAT_COALESCE": "1",
    },
    "fastchat, Python": {"FASTCHAT_IMPLEMENTATION": "python"},
    "fastchat, Python, output held": {
        "FASTCHAT_IMPLEMENTATION": "python",
        "FASTCHAT_COALESCE": "1",
    },
}

SETTINGS = """\
[pytest]
faulthandler_timeout = 60
"""

# A plugin of the pytest that runs the suite.  ``fastchat run`` has given it the old names; here the
# private copies are replaced.  It writes down a line for each step of each test, at once, so that
# they are there even if the process is killed.
PLUGIN = """\
import json
import os
import sys

out = open(os.environ["SUITE_RESULTS"], "a", buffering=1)
if os.environ["SUITE_ON_FASTCHAT"] == "yes":
    import fastchat

    sys.modules["pyftpdlib._asyncore"] = fastchat.asyncore
    sys.modules["pyftpdlib._asynchat"] = fastchat.asynchat


def pytest_runtest_logstart(nodeid):
    out.write(json.dumps([nodeid, "started", ""]) + "\\n")


def pytest_runtest_logreport(report):
    why = report.longreprtext[-2000:] if report.failed else ""
    out.write(json.dumps([report.nodeid, report.when + " " + report.outcome, why]) + "\\n")


def pytest_sessionfinish():
    from pyftpdlib import handlers, ioloop

    chat = ioloop.AsyncChat.__mro__[-3:-1]
    assert issubclass(handlers.FTPHandler, chat[0])
    used = [ioloop.asyncore.__name__, *(each.__module__ for each in chat)]
    scanner = sys.modules["fastchat"].implementation if "fastchat" in sys.modules else None
    held = getattr(chat[0], "ac_out_coalesce", None)
    out.write(json.dumps(["", {"used": used, "scanner": scanner, "held": held}, ""]) + "\\n")
"""


class CannotRun(Exception):
    """The suite could not be run, or was not what it should be."""


@dataclass
class Run:
    """What came of one run of the suite."""

    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    output: str = ""

    def passed(self, test: str) -> bool:
        return self.outcomes.get(test) == "passed"

    def summary(self) -> str:
        """pytest's last line, or what there is instead of one."""
        lines = [line.strip("= ") for line in self.output.splitlines() if " in " in line]
        return lines[-1] if self.about and lines else f"KILLED: {Counter(self.outcomes.values())}"


def main() -> int:
    parser = argparse.ArgumentParser(description="run pyftpdlib's own tests on fastchat")
    parser.add_argument(
        "releases", nargs="*", default=list(RELEASES), help=f"default: {' '.join(RELEASES)}"
    )
    arguments = parser.parse_args()
    for release in arguments.releases:
        if release not in RELEASES:
            parser.error(f"{release} is not one of {' '.join(RELEASES)}")
    lost = 0
    try:
        for release in arguments.releases:
            with tempfile.TemporaryDirectory(prefix="fastchat-pyftpdlib-") as directory:
                lost += compare(release, Path(directory))
    except CannotRun as problem:
        print(f"pyftpdlib: {problem}", file=sys.stderr)
        return 2
    print(f"pyftpdlib: {lost} tests lost" if lost else "pyftpdlib: no test lost")
    return 1 if lost else 0


def compare(release: str, scratch: Path) -> int:
    """Run *release*'s suite on every side, and print it; returns how many tests are lost."""
    print(f"pyftpdlib {release}, {platform.python_implementation()} {platform.python_version()}")
    suite = Suite(fetch(release, scratch), scratch)
    # Two at a time on two processors: the tests wait more than they compute, but not for long.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        runs = dict(zip(SIDES, threads.map(suite.run, SIDES), strict=True))
    for side, run in runs.items():
        check(side, run)
        print(f"  {side:32} {run.summary()}", flush=True)
    own = runs.pop(OWN)
    if Counter(own.outcomes.values())["passed"] < ENOUGH:
        raise CannotRun(f"the suite does not pass on {OWN}:\n{own.output[-3000:]}")
    return sum(report_lost(suite, side, own, run) for side, run in runs.items())


def report_lost(suite: Suite, side: str, own: Run, run: Run) -> int:
    """Print which tests *side* lost, after another look at them; returns how many."""
    gained = [test for test in run.outcomes if run.passed(test) and not own.passed(test)]
    suspects = [
        test
        for test, outcome in own.outcomes.items()
        if outcome != "skipped" and not run.passed(test)
    ]
    failures: dict[str, Counter[str]] = {OWN: Counter(), side: Counter()}
    again = AGAIN if len(suspects) <= MANY else 0
    for _ in range(again if suspects else 0):
        for each, count in failures.items():
            repeated = suite.run(each, suspects)
            count.update(test for test in suspects if not repeated.passed(test))
    lost = 0
    for test in suspects:
        times = f"{failures[side][test]} of {again} on it, {failures[OWN][test]} on {OWN}"
        is_lost = again == 0 or failures[side][test] > failures[OWN][test]
        lost += is_lost
        print(f"  {side}: {'LOST' if is_lost else 'unsteady'}: {test} (run again: fails {times})")
        if is_lost:
            why = run.reasons.get(test) or run.outcomes.get(test, "was not run")
            print("\n".join(f"      {line}" for line in why.splitlines()[-6:]))
    if gained:
        print(f"  {side}: passes what {OWN} did not: {', '.join(gained)}")
    return lost


def check(side: str, run: Run) -> None:
    """Raise CannotRun where the run was not on *side*; a run that was killed cannot say."""
    if not run.outcomes:
        raise CannotRun(f"no test was run on {side}:\n{run.output[-3000:]}")
    if not run.about:
        return
    settings = SIDES[side]
    on_fastchat = {name.partition(".")[0] == "fastchat" for name in run.about["used"]}
    right = on_fastchat == {side != OWN}
    right &= run.about["scanner"] == settings.get("FASTCHAT_IMPLEMENTATION")
    right &= bool(run.about["held"]) or "FASTCHAT_COALESCE" not in settings
    if not right:
        raise CannotRun(f"the run that should be on {side} was not: {run.about}")


def fetch(release: str, scratch: Path) -> Path:
    """Fetch and unpack the sdist of *release*; returns its directory."""
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"pyftpdlib=={release} --hash=sha256:{RELEASES[release]}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", "pyftpdlib", "--require-hashes"]
    command += ["--dest", str(scratch), "--requirement", str(wanted)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = scratch / f"pyftpdlib-{release}.tar.gz"
    if answer.returncode or not archive.exists():
        raise CannotRun(f"pyftpdlib {release} could not be fetched:\n{answer.stderr}")
    shutil.unpack_archive(archive, scratch, filter="data")
    return scratch / f"pyftpdlib-{release}"


class Suite:
    """The suite of one release; *source* is its directory, and *scratch* a place for copies."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self.source = source
        self.scratch = scratch
        (scratch / "suite.ini").write_text(SETTINGS)
        (scratch / "suite_plugin.py").write_text(PLUGIN)
        in_package = source / "pyftpdlib" / "test"
        self.tests = "pyftpdlib/test" if in_package.exists() else "tests"

    def run(self, side: str, tests: Iterable[str] = ()) -> Run:
        """Run these tests, or all, on *side*."""
        place = Path(tempfile.mkdtemp(dir=self.scratch))
        tree = place / "tree"
        shutil.copytree(self.source, tree)
        command = [sys.executable, *(["-m", "fastchat", "run"] if side != OWN else [])]
        command += ["-m", "pytest", "-q", "-p", "suite_plugin", "-p", "no:cacheprovider"]
        command += ["-c", str(self.scratch / "suite.ini"), "--rootdir", str(tree), "--tb", "short"]
        # The old modules warn at their import, and pyftpdlib's tests of it.
        command += ["-W", "ignore", *(list(tests) or [self.tests])]
        results = place / "results"
        output = run_bounded(command, tree, self.environment(side, results))
        return read(results, output)

    def environment(self, side: str, results: Path) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FASTCHAT_", "PYTHON", "PYTEST_"))
        }
        return inherited | {
            **SIDES[side],
            "PYTHONPATH": str(self.scratch),
            # As its authors run it on machines that others use too: more patience, and without a
            # test that they know to fail by chance and then to take the whole process along.
            "GITHUB_ACTIONS": "true",
            "SUITE_RESULTS": str(results),
            "SUITE_ON_FASTCHAT": "yes" if side != OWN else "no",
        }


def run_bounded(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Run *command*, kill it and its children where it takes too long; returns what it printed."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started = time.monotonic()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"  killed after {time.monotonic() - started:.0f} s: {' '.join(command)}")
        finally:
            # Its servers too, which a test may have left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        return out.read().decode(errors="replace")


def read(results: Path, output: str) -> Run:
    """What the plugin has written down."""
    run = Run(output=output)
    for line in results.read_text().splitlines() if results.exists() else ():
        test, step, why = json.loads(line)
        if not test:
            run.about = step
            continue
        phase, _, outcome = step.partition(" ")
        before = run.outcomes.get(test, "not finished")
        if outcome in ("failed", "skipped"):
            run.outcomes[test] = "failed" if "failed" in (outcome, before) else outcome
        elif phase == "call":
            run.outcomes[test] = "passed"
        else:
            run.outcomes[test] = before
        if why:
            run.reasons[test] = why
    return run


if __name__ == "__main__":
    sys.exit(main())
