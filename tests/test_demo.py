"""``tools/demo.py``: it shows what it should, and fails when anything is wrong.

Rule kept here: each way to fail has a server that does just this wrong, made from the example by
changing one line, so the demonstration is known to notice it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fastchat
from tests.support.building import ROOT, clean_environment
from tests.support.implementations import STDLIB

DEMO = ROOT / "tools" / "demo.py"
TIMEOUT = 60.0  # seconds

Demo = Callable[..., subprocess.CompletedProcess[str]]
Changed = Callable[[str, str], str]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The directory for the temporary files of the demonstration."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


@pytest.fixture
def pure(request: pytest.FixtureRequest) -> list[str]:
    """What to tell a demonstration that may lack the compiled implementation."""
    return ["--allow-pure"] if request.config.getoption("--no-extension") else []


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """Makes a copy of the example in which one thing is another, and returns its path."""

    def changed(old: str, new: str) -> str:
        program = tmp_path / "program" / "http_server.py"
        shutil.copytree(ROOT / "examples", program.parent)
        source = program.read_text()
        assert source.count(old) == 1
        program.write_text(source.replace(old, new))
        return str(program)

    return changed


@pytest.fixture
def demo(temporary: Path) -> Demo:
    """Runs the demonstration to its end, which must leave no file."""

    def demo(*options: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(DEMO), "--requests", "60", *options]
        done = subprocess.run(
            command,
            env=clean_environment({"TMPDIR": str(temporary), **settings}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert list(temporary.iterdir()) == []
        return done

    return demo


def test_all_engines_and_kinds_of_request_are_shown(demo: Demo, pure: list[str]) -> None:
    done = demo(*pure)
    assert (done.returncode, done.stderr) == (0, "")
    engines = [] if pure else ["fastchat, run --coalesce", "fastchat, compiled"]
    engines += ["fastchat, pure Python", *(["standard library"] if STDLIB else [])]
    answers = 60 + (5 if shutil.which("curl") else 0)
    for engine in engines:
        version = fastchat.__version__ if "fastchat" in engine else sys.version.split()[0]
        assert f"on {engine} {version} ... {answers} answers, all as they should be" in done.stdout
    # What a request costs, many in flight beside one at a time; the last is what they are over.
    head, *table = done.stdout.partition("CPU for a request:\n\n")[2].splitlines()
    assert head.split("  ")[-1].strip() == "one at a time"
    assert "25 in flight" in head
    assert [line[:24].rstrip() for line in table[: len(engines)]] == engines
    for line in table[: len(engines)]:
        assert re.fullmatch(r"( +\d+\.\d  \(\d+\.\d\d\)){2}", line[24:])
    assert table[len(engines) - 1].count("(1.00)") == 2
    assert ("This build has no compiled modules" in done.stdout) == bool(pure)
    lines = done.stdout.splitlines()
    counted = [
        line.split(None, 1) for line in lines[lines.index("Answers checked, on each:") + 1 :]
    ]
    expected = [
        ["18", "GET, one at a time"],
        ["12", "POST, cut at odd places"],
        ["27", "GET and POST, 25 in flight, cut at odd places"],
        ["3", "bad requests, refused"],
        ["5", "from curl"] if shutil.which("curl") else ["(curl", "is not installed)"],
    ]
    assert counted[: len(expected)] == expected


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        pytest.param("sha256=self.digest.hexdigest()", "sha256=''", "instead of Answer", id="body"),
        pytest.param("Refused(405)", "Refused(501)", "instead of status 405", id="status"),
        pytest.param(
            "self.begin()\n\n", "self.close()\n\n", "the server broke a connection off", id="end"
        ),
        pytest.param("finish()", "push(b'more'), self.finish()", "the server went on", id="no-end"),
        pytest.param(
            "json.dumps(report)",
            "json.dumps(json)",
            "the server broke a connection off",
            id="crash",
        ),
        pytest.param(
            "serving.serve(", "raise LookupError(", "instead of where it listens", id="no-start"
        ),
        pytest.param("RequestHandler)\n", "RequestHandler)\n    exit(3)", "status 3", id="exit"),
        pytest.param("RequestHandler)\n", "RequestHandler)\n    print('!')", "b'!", id="output"),
        pytest.param(
            "RequestHandler)\n", "RequestHandler)\n    open(2, 'w').write('!')", "!", id="errors"
        ),
    ],
)
def test_misbehaving_server_fails_it(
    demo: Demo, changed: Changed, pure: list[str], right: str, wrong: str, said: str
) -> None:
    done = demo(*pure, "--program", changed(right, wrong))
    assert done.returncode == 1
    assert done.stderr.startswith("\nTHE DEMONSTRATION FAILED\n")
    assert "What the server wrote to stderr:\n" in done.stderr
    assert said in done.stderr


def test_compiled_implementation_may_not_be_missing(demo: Demo, tmp_path: Path) -> None:
    without = tmp_path / "without"
    package = Path(fastchat.__file__).parent
    shutil.copytree(package, without / "fastchat", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    done = demo(PYTHONPATH=str(without))
    assert (done.returncode, done.stdout) == (1, "")
    assert "fastchat, compiled, is not installed" in done.stderr
    allowed = demo("--allow-pure", PYTHONPATH=str(without))
    assert (allowed.returncode, allowed.stderr) == (0, "")
    # Nothing alarming.
    assert allowed.stdout.startswith("This build has no compiled modules")
    assert "Error" not in allowed.stdout
    assert "on fastchat, pure Python" in allowed.stdout
    assert "on fastchat, compiled" not in allowed.stdout


def test_other_implementation_is_noticed(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "fastchat.py").write_text("implementation = 'python'; __version__ = '0'")
    done = demo(PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "fastchat, compiled, is not installed: python 0" in done.stderr
    # Something else than what is allowed to be missing.
    allowed = demo("--allow-pure", PYTHONPATH=str(tmp_path))
    assert (allowed.returncode, allowed.stdout) == (1, "")


def is_empty(group: int) -> bool:
    """Whether a process group has nobody left in it.

    What was killed is in it until it has been waited for, and nothing tells when that was done.
    """
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
    os.killpg(group, signal.SIGKILL)
    return False


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("    serving.serve(", id="start"),
        pytest.param("        method, path, minor, headers = parse_head(head)", id="request"),
    ],
)
def test_interrupted_demonstration_leaves_nothing(
    changed: Changed, temporary: Path, pure: list[str], moment: str, ending: signal.Signals
) -> None:
    indent = moment[: len(moment) - len(moment.lstrip())]
    interrupt = f"{indent}import os; os.kill(os.getppid(), {ending.value})\n"
    process = subprocess.Popen(
        [sys.executable, str(DEMO), *pure, "--program", changed(moment, interrupt + moment)],
        env=clean_environment({"TMPDIR": str(temporary)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, complaints = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, complaints) == (130, "\ninterrupted\n")
        assert is_empty(process.pid)  # it led a group, in which nobody may be left
        assert list(temporary.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def test_too_few_requests_are_refused(demo: Demo) -> None:
    done = demo("--requests", "19")
    assert done.returncode == 2
    assert "--requests must be 20 or more" in done.stderr
