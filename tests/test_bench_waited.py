"""Servers that waited for their CPU: measured again, and what stays disturbed is not published.

The figures are made up, and nothing here depends on how busy the machine is; only one test reads
the kernel's own count.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench import compare, report, tables, targets
from bench.results import QUIET, Comparison, Results, Sample, Serve
from bench.serve import redis
from bench.serve import run as serving
from bench.serve.engines import Engine
from bench.serve.process import Failure, Server, Unfinished, Waited, choose_cpus
from bench.serve.workloads import WORKLOADS, Workload

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="bench/serve is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]

SAMPLE = Sample(cpu=2.0, rate=10.0, server_share=1.0, load_share=0.5, waiting_share=0.0)


def after(share: float | None, cpu: float = 2.0) -> Sample:
    """A sample whose server waited for *share* of the time."""
    return replace(SAMPLE, waiting_share=share, cpu=cpu)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """What the next measurements find; taken from the front."""
    samples: list[Sample] = []
    monkeypatch.setattr(serving, "measure", lambda *_: samples.pop(0))
    return samples


# What is too much.


@pytest.mark.parametrize(
    ("share", "has_waited"),
    [(None, False), (0.0, False), (QUIET, False), (QUIET + 0.0001, True), (0.9, True)],
)
def test_a_twentieth_of_the_time_is_the_limit(share: float | None, has_waited: bool) -> None:
    assert QUIET == 1 / 20
    assert after(share).has_waited is has_waited


# Trying again.


def attempts(*shares: tuple[float, ...]) -> Iterator[list[Sample]]:
    return iter([[after(share) for share in together] for together in shares])


def test_a_quiet_try_is_enough() -> None:
    left = attempts((0.01,), (0.02,))
    assert serving.undisturbed(lambda: next(left)) == [after(0.01)]
    assert list(left) == [[after(0.02)]]


def test_a_disturbed_try_is_repeated() -> None:
    left = attempts((0.3,), (0.06,), (0.02,), (0.0,))
    assert serving.TRIES == 3
    assert serving.undisturbed(lambda: next(left)) == [after(0.02)]
    assert list(left) == [[after(0.0)]]


def test_tries_are_bounded_and_the_least_share_is_said() -> None:
    left = attempts((0.3,), (0.06,), (0.2,), (0.0,))
    with pytest.raises(Waited, match="6% of the time") as caught:
        serving.undisturbed(lambda: next(left))
    assert caught.value.share == 0.06
    assert list(left) == [[after(0.0)]]


def test_one_of_two_that_are_measured_together_is_enough_to_repeat_both() -> None:
    left = attempts((0.0, 0.3), (0.3, 0.0), (0.01, 0.02))
    assert serving.undisturbed(lambda: next(left)) == [after(0.01), after(0.02)]
    left = attempts((0.0, 0.3), (0.1, 0.07), (0.2, 0.0))
    with pytest.raises(Waited) as caught:
        serving.undisturbed(lambda: next(left))
    assert caught.value.share == 0.1


@pytest.mark.parametrize("problem", [Failure("wrong reply"), Unfinished("too slow")])
def test_what_is_wrong_is_not_tried_again(problem: Exception) -> None:
    calls = []

    def attempt() -> list[Sample]:
        calls.append(1)
        raise problem

    with pytest.raises(type(problem)):
        serving.undisturbed(attempt)
    assert calls == [1]


# A run.


def test_the_round_of_a_disturbed_server_has_no_sample(given: list[Sample]) -> None:
    run = serving.Run(serving.Plan(["c", "asyncio-protocol"], ["ping-pong"], 2, 0))
    steps = run.steps()
    assert [engine for _, _, engine in steps] == ["asyncio-protocol", "c", "c", "asyncio-protocol"]
    given += [after(0.0, 4.0)]
    given += [after(0.5), after(0.25), after(0.75)]
    given += [after(0.9, 99.0), after(0.04, 1.0)]
    given += [after(0.0, 5.0)]
    for _, workload, engine in steps:
        run.take(workload, engine)
    assert given == []
    comparison = run.results.workloads["ping-pong"]
    assert comparison.samples == {
        "c": [None, after(0.04, 1.0)],
        "asyncio-protocol": [after(0.0, 4.0), after(0.0, 5.0)],
    }
    assert comparison.waited == {"c": [0.25]}
    assert comparison.unfinished == {}
    # Ratios are of rounds in which both were left alone.
    ratio = comparison.ratio("asyncio-protocol", "c")
    assert ratio
    assert (ratio.median, ratio.low, ratio.high) == (5.0, 5.0, 5.0)


def disturbed() -> Serve:
    """One engine that was left out of one round of two, another of both."""
    comparison = Comparison("line")
    comparison.samples = {
        "fastchat": [after(0.01), None],
        "stdlib": [None, None],
        "c": [after(0.0), after(0.0)],
    }
    comparison.waited = {"fastchat": [0.25], "stdlib": [0.1, 0.07]}
    return Serve(0.3, [1, 0], workloads={"ping-pong": comparison})


SAID = [
    "fastchat, compiled, ping-pong: 1 of 2 rounds are left out: the server waited for its CPU "
    "whenever they were tried, for at least 25% of the time.",
    "stdlib asynchat, ping-pong: 2 of 2 rounds are left out: the server waited for its CPU "
    "whenever they were tried, for at least 7% of the time.",
]


def test_tables_name_what_is_left_out() -> None:
    serve = disturbed()
    assert tables.all_left_out(serve) == SAID
    assert tables.overview(serve).remarks == SAID
    table = tables.workload_table("ping-pong", serve.workloads["ping-pong"])
    assert [row[0] for row in table.rows] == ["fastchat, compiled", "C, epoll and memchr"]
    assert table.remarks == [each.replace(", ping-pong", "") for each in SAID]
    serve.workloads["ping-pong"].waited.clear()
    assert tables.all_left_out(serve) == tables.overview(serve).remarks == []


def test_a_target_without_a_quiet_round_is_not_met() -> None:
    serve = disturbed()
    row = targets.Target(
        "ping-pong", "", 9.0, lambda each: each.workloads["ping-pong"].ratio("fastchat", "stdlib")
    )
    assert not row.is_met(serve)


def test_what_is_kept_and_reported_is_marked(tmp_path: Path) -> None:
    results = Results("2026-01-02T03:04:05+00:00", "bench", "CPython 3.11.7", {"cpu": "x"}, {})
    results.serve = disturbed()
    path = results.write(tmp_path)
    kept = json.loads(path.read_text())["serve"]["workloads"]["ping-pong"]
    assert kept["waited"] == {"fastchat": [0.25], "stdlib": [0.1, 0.07]}
    assert kept["samples"]["stdlib"] == {"cpu": [None, None]}
    assert Results.read(path) == results
    section = report.section(results, path, tmp_path / "page.md")
    assert all(sentence in section for sentence in SAID)
    assert "| stdlib asynchat |" not in section


def test_what_was_kept_before_there_were_marks_can_be_read(tmp_path: Path) -> None:
    results = Results("2026-01-02T03:04:05+00:00", "bench", "CPython 3.11.7", {"cpu": "x"}, {})
    results.serve = Serve(0.3, [1, 0], workloads={"ping-pong": Comparison("line")})
    path = results.write(tmp_path)
    content = json.loads(path.read_text())
    del content["serve"]["workloads"]["ping-pong"]["waited"]
    path.write_text(json.dumps(content))
    assert Results.read(path) == results


# The command line.


@pytest.fixture
def command_line() -> Any:
    pytest.importorskip("rich")
    return importlib.import_module("bench.__main__")


RUN = ["serve", "--engine", "c", "--workload", "ping-pong", "--rounds", "1"]


def test_a_disturbed_run_is_an_error_and_says_so_last(
    command_line: Any,
    given: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line, "keep", lambda results, path: [results.write(path)])
    given += [after(0.5), after(0.25), after(0.75)]
    assert command_line.main([*RUN, "--save", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "this machine was busy" in output.err
    sentence = (
        "C, epoll and memchr, ping-pong: 1 of 1 rounds are left out: the server waited for its CPU "
        "whenever they were tried, for at least 25% of the time."
    )
    assert output.err.splitlines()[-1] == sentence
    (kept,) = tmp_path.glob("*.json")
    serve = Results.read(kept).serve
    assert serve
    assert serve.workloads["ping-pong"].samples == {"c": [None]}


def test_a_run_that_was_quiet_in_the_end_is_none(
    command_line: Any, given: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    given += [after(0.5), after(0.01)]
    assert command_line.main(RUN) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "left out" not in output.out.lower()


def test_an_interrupted_run_stays_interrupted(
    command_line: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [after(0.5), after(0.5), after(0.5)]

    def measure(*_: object) -> Sample:
        if not samples:
            raise KeyboardInterrupt
        return samples.pop()

    monkeypatch.setattr(serving, "measure", measure)
    assert command_line.main([*RUN[:-1], "2"]) == 130
    assert "at least 50% of the time" in capsys.readouterr().err


# Two installations.


def test_both_of_a_pair_are_measured_again(
    monkeypatch: pytest.MonkeyPatch, command_line: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """There, in the first round, three times in vain; the second begins with it."""
    shares = [0.0, 0.3, 0.0, 0.2, 0.0, 0.1, 0.4, 0.0, 0.0, 0.0]
    asked: list[str] = []

    def measure(engine: Engine, workload: Workload, *_: object) -> Sample:
        asked.append(engine.python)
        return after(shares.pop(0), 3.0 if engine.python == "there" else 2.0)

    monkeypatch.setattr(serving, "measure", measure)
    words = ["--engine", "fastchat-python", "--workload", "ping-pong", "--rounds", "2"]
    assert command_line.main(["compare", "there", *words]) == 1
    here = sys.executable
    assert asked == [here, "there"] * 3 + ["there", here] * 2
    output = capsys.readouterr()
    assert "fastchat, Python, ping-pong: 1 of 2 rounds are left out" in output.err
    assert "at least 10% of the time" in output.err
    row = next(line for line in output.out.splitlines() if "│ ping-pong" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "ping-pong",
        "fastchat, Python",
        "0.667",
        "0.667 - 0.667",
        "1",
    ]


def test_a_quiet_comparison_is_no_error(
    given: list[Sample], command_line: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given += [after(0.0), after(0.0)]
    words = ["--engine", "fastchat-python", "--workload", "ping-pong", "--rounds", "1"]
    assert command_line.main(["compare", "there", *words]) == 0
    assert capsys.readouterr().err == ""
    assert compare.Compared("there").left_out() == []


# The kernel's count.


def test_what_redis_benchmark_is_answered_counts_the_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"rps": "10", "p50_latency_ms": "1", "p99_latency_ms": "2"}] * 2
    monkeypatch.setattr(redis, "_requests", lambda *_: rows)
    monkeypatch.setattr(redis, "_read_back", lambda server: None)
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(redis, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    used, waited = iter([1.0, 3.0]), iter([5.0, 5.5])
    server: Any = SimpleNamespace(cpu_time=lambda: next(used), waiting=lambda: next(waited))
    sample = redis.measure(server, WORKLOADS["redis-1"], 0, 0)
    assert (sample.server_share, sample.waiting_share) == (0.5, 0.125)
    assert sample.has_waited


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel does not say who waits"
)
def test_a_server_that_shares_its_cpu_is_seen_to_wait() -> None:
    """Two that are always busy, on one CPU: each is kept waiting."""
    cpu = choose_cpus()[0]
    busy = "print('listening on 127.0.0.1:1', flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", busy]
    with Server(command, cpu) as server, Server(command, cpu):
        before, end = server.waiting(), time.monotonic() + 20
        while server.waiting() < before + 0.01:
            assert time.monotonic() < end
