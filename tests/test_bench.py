"""The benchmarks' own code: each case does its work, and the judgement can fail.

Nothing here looks at how long anything takes.
"""

from __future__ import annotations

import threading

import pytest

from bench import linear, threads
from tests.support.implementations import FASTCHAT, load


@pytest.mark.parametrize("name", FASTCHAT)
@pytest.mark.parametrize("case", [row[0] for row in linear.CASES], ids=lambda case: case.__name__)
def test_each_case_receives_or_sends_everything(case: linear.Case, name: str) -> None:
    """The cases check their own results; they only must not be too small to do anything."""
    case(load(name), 4096)


def test_a_case_that_grows_too_fast_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["linear.py", "--case", "newlines"])
    monkeypatch.setattr(linear, "ROUNDS", 1)
    monkeypatch.setattr(linear, "CASES", [(linear.newlines, 1024, 0)])
    monkeypatch.setattr(linear, "FASTCHAT", ("python",))
    monkeypatch.setattr(linear, "LIMIT", 0.0)
    assert linear.main() == 1
    assert "newlines             python" in capsys.readouterr().out
    monkeypatch.setattr(linear, "LIMIT", float("inf"))
    assert linear.main() == 0


def test_an_unknown_case_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["linear.py", "--case", "nosuch"])
    with pytest.raises(SystemExit):
        linear.main()
    assert "no such case: nosuch; there are newlines," in capsys.readouterr().err


def test_loops_in_threads_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["threads.py", "--threads", "2", "--rounds", "1", "--seconds", "0.01"]
    monkeypatch.setattr("sys.argv", words)
    assert threads.main() == 0
    assert "2 threads" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--threads", "1"], ["--rounds", "0"], ["--seconds", "0"]])
def test_too_few_threads_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["threads.py", *words])
    with pytest.raises(SystemExit):
        threads.main()
    assert "at least two threads" in capsys.readouterr().err


def test_a_thread_that_is_done_leaves_the_barrier_to_the_others() -> None:
    begin, end, counts = threading.Barrier(1), threading.Event(), list[int]()
    end.set()
    for _ in range(2):
        threads.serve(begin, end, counts)
    assert len(counts) == 2


def test_a_thread_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "serve", lambda begin, end, counts: begin.wait(threads.PATIENCE))
    with pytest.raises(RuntimeError, match="2 of 2 threads"):
        threads.answered(2, 0.01)
