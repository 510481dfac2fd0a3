"""Results of several interpreters: how their files are called, which are taken, and what the report
makes of them.

The figures are made up, and nothing is measured.
"""

from __future__ import annotations

import importlib
import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from bench import machine, report, tables
from bench.results import Comparison, Results, Sample, Serve, newest
from tests.support.building import ROOT

DAY = "2026-01-02T03:04:05+00:00"


def made(python: str, when: str = DAY, /, **figures: float) -> Results:
    """Results of *python*, with the CPU time of each engine in *figures* at one workload."""
    results = Results(when, "bench all", python, {"cpu": "Some (R) CPU"}, {"uvloop": "0.1"})
    samples: dict[str, list[Sample | None]] = {
        name.replace("_", "-"): [Sample(cpu=cpu, rate=1.0, server_share=1.0)]
        for name, cpu in figures.items()
    }
    results.serve = Serve(0.3, [1, 0], workloads={"ping-pong": Comparison("line", samples)})
    return results


OLD = made("CPython 3.11.7", fastchat=2.0, stdlib=4.0, uvloop_protocol=5.0)
NEW = made("CPython 3.13.0", fastchat=3.0, pyasynchat=5.0, uvloop_protocol=4.0)


# Names.


def test_the_interpreter_is_in_the_name(tmp_path: Path) -> None:
    pythons = ["CPython 3.11.7", "CPython 3.13.0", "CPython 3.13.0 without a GIL"]
    pythons += ["CPython 3.15.0a2 debug", "PyPy 3.11.13"]
    for python in pythons:
        made(python, fastchat=1.0).write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "2026-01-02-some-r-cpu-cpython-3.11.7.json",
        "2026-01-02-some-r-cpu-cpython-3.13.0.json",
        "2026-01-02-some-r-cpu-cpython-3.13.0-without-a-gil.json",
        "2026-01-02-some-r-cpu-cpython-3.15.0a2-debug.json",
        "2026-01-02-some-r-cpu-pypy-3.11.13.json",
    }
    # And in their order: by number, not by letter.
    (tmp_path / "not-results.txt").touch()
    made("CPython 3.9.18", fastchat=1.0).write(tmp_path)
    pythons.insert(0, "CPython 3.9.18")
    assert [Results.read(path).python for path in newest(tmp_path)] == pythons


def test_builds_of_this_interpreter_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    monkeypatch.delattr(sys, "gettotalrefcount", raising=False)
    usual = machine.python()
    assert usual.count(" ") == 1
    monkeypatch.setattr(sysconfig, "get_config_var", {"Py_GIL_DISABLED": 1}.get)
    assert machine.python() == f"{usual} without a GIL"
    monkeypatch.setattr(sys, "gettotalrefcount", lambda: 0, raising=False)
    assert machine.python() == f"{usual} without a GIL debug"


# Which are taken.


def test_the_newest_of_each_line_is_taken(tmp_path: Path) -> None:
    made("CPython 3.11.9", "2026-01-03T00:00:00+00:00", fastchat=1.0).write(tmp_path)
    wanted = [made("CPython 3.11.7", "2026-02-01T00:00:00+00:00", fastchat=1.0).write(tmp_path)]
    wanted += [made("CPython 3.13.0", "2026-01-01T00:00:00+00:00", fastchat=1.0).write(tmp_path)]
    assert newest(tmp_path) == wanted
    assert newest(tmp_path / "nowhere") == []
    (tmp_path / "old.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(ValueError, match="not of format 1"):
        newest(tmp_path)


# What is made of them.


def test_interpreters_are_beside_each_other() -> None:
    table = tables.interpreters([OLD, NEW, made("CPython 3.15.0", c=1.0)])
    assert table.columns == ["interpreter", "over", "ping-pong"]
    assert table.rows == [
        ["CPython 3.11.7", "stdlib asynchat", "0.500"],
        ["CPython 3.11.7", "uvloop Protocol", "0.400"],
        ["CPython 3.13.0", "pyasynchat", "0.600"],
        ["CPython 3.13.0", "uvloop Protocol", "0.750"],
    ]


def test_the_report_has_a_part_for_each(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"Before.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n")
    sources = [OLD.write(tmp_path), NEW.write(tmp_path)]
    report.rewrite(document, *sources)
    text = document.read_text()
    report.rewrite(document, *sources)
    assert document.read_text() == text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    own = ["CPU time", "fastchat and the others", "Where fastchat does not win", "Latency"]
    inner = [f"#### {heading}" for heading in own]
    assert headings == [
        "### The interpreters",
        "### CPython 3.11.7",
        *inner,
        "### CPython 3.13.0",
        *inner,
    ]
    first, second = (text.index(f"\n### {results.python}\n") for results in (OLD, NEW))
    assert first < text.index(f"[{sources[0].name}]({sources[0].name})") < second
    assert second < text.index(f"[{sources[1].name}]({sources[1].name})")
    assert "| CPython 3.13.0 | pyasynchat | 0.600 |" in text
    assert "\n\n\n" not in text


def test_one_interpreter_needs_no_part(tmp_path: Path) -> None:
    source = OLD.write(tmp_path)
    text = report.sections({source: OLD}, tmp_path / "page.md")
    assert "### CPU time" in text
    assert "interpreters" not in text
    assert "####" not in text


def test_two_of_the_same_interpreter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of the same interpreter"):
        report.sections({Path("a"): OLD, Path("b"): OLD}, tmp_path / "page.md")


# The command line.


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("rich")
    pytest.importorskip("resource", reason="bench/serve is for Linux")
    module = importlib.import_module("bench.__main__")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_report_without_files_takes_what_is_kept(command_line: Any, tmp_path: Path) -> None:
    OLD.write(tmp_path)
    NEW.write(tmp_path)
    page = tmp_path / "performance.md"
    page.write_bytes((ROOT / "docs" / "performance.md").read_bytes())
    assert command_line.main(["report", "--document", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "\n### CPython 3.11.7\n" in text
    assert "\n### CPython 3.13.0\n" in text


def test_a_report_of_nothing_is_an_error(
    command_line: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.")
    assert command_line.main(["report", "--document", str(page)]) == 1
    assert "there are no results" in capsys.readouterr().err
    OLD.write(tmp_path)
    assert command_line.main(["report", "--document", str(page)]) == 1
    assert "has no lines" in capsys.readouterr().err
    assert page.read_text() == "Before."
