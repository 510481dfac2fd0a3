"""The gate that counts instructions: what it calls worse, and what is kept for it.

The counting itself is a lane of continuous integration.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bench import instructions


def ratios(value: float) -> dict[str, dict[str, float]]:
    """The same ratio for everything."""
    return {
        workload: dict.fromkeys(instructions.IMPLEMENTATIONS, value)
        for workload in instructions.WORKLOADS
    }


def test_ratios_are_kept_for_everything_that_is_counted() -> None:
    kept = json.loads(instructions.KEPT.read_text())
    assert "3.11" in kept
    for by_workload in kept.values():
        assert by_workload.keys() == instructions.WORKLOADS.keys()
        for by_implementation in by_workload.values():
            assert by_implementation.keys() == set(instructions.IMPLEMENTATIONS)
            assert all(0 < ratio < 10 for ratio in by_implementation.values())


@pytest.mark.parametrize(
    ("ratio", "is_worse"), [(0.5, False), (1.0, False), (1.049, False), (1.051, True)]
)
def test_five_percent_more_is_worse(ratio: float, is_worse: bool) -> None:
    found = ratios(1.0)
    found["ping-pong"]["python"] = ratio
    lines = instructions.worse(found, ratios(1.0))
    assert lines == (["ping-pong, python: 1.000 is kept, 1.051 was counted"] if is_worse else [])


def test_a_line_costs_what_the_longer_run_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Any] = []

    def count(implementation: str, in_flight: int, rounds: int) -> int:
        is_first = (implementation, in_flight, rounds) not in runs
        runs.append((implementation, in_flight, rounds))
        return 1_000_000 + 700 * in_flight * rounds + 24_000_000 * is_first

    monkeypatch.setattr(instructions, "count", count)
    monkeypatch.setattr(subprocess, "run", lambda *args, **keywords: None)
    assert instructions.per_line("python", "16 in flight") == 700
    attempts = instructions.ATTEMPTS
    assert runs == [("python", 16, 60)] * attempts + [("python", 16, 120)] * attempts


@pytest.mark.parametrize(
    ("status", "said"), [(1, "Collected : 5"), (0, "nothing")], ids=["failed", "silent"]
)
def test_a_run_that_does_not_end_well_is_no_count(
    monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    done = SimpleNamespace(returncode=status, stderr=said)
    monkeypatch.setattr(subprocess, "run", lambda *args, **keywords: done)
    with pytest.raises(instructions.Failed, match="--serve python"):
        instructions.count("python", 1, 1)


@pytest.mark.parametrize("more", [1.0, 1.2])
def test_the_exit_status_says_whether_any_is_worse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: float
) -> None:
    kept = {instructions.version(): ratios(1.0)}
    monkeypatch.setattr(instructions, "KEPT", SimpleNamespace(read_text=lambda: json.dumps(kept)))
    monkeypatch.setattr(instructions, "ratios", lambda: ratios(more))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert instructions.main([]) == (more > 1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"instructions: {6 if more > 1 else 0} worse"


def test_without_valgrind_it_fails_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert instructions.main([]) == 1
    assert "apt-get install valgrind" in capsys.readouterr().out


def test_of_an_interpreter_that_nothing_is_kept_for_nothing_is_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(instructions, "version", lambda: "2.7")
    assert instructions.main([]) == 0
    assert "nothing is kept for Python 2.7" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["python", pytest.param("cython", marks=pytest.mark.compiled)])
def test_the_lines_go_round(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "bench.instructions", "--serve", what, "16", "3"]
    monkeypatch.setenv("FASTCHAT_IMPLEMENTATION", what)
    done = subprocess.run(
        command, cwd=instructions.KEPT.parent.parent, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
