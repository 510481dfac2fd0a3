"""What the benchmarks make of their samples: files, tables, targets, the picture and the report.

Nothing here is timed: the samples are recorded ones.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench import report, tables, targets
from bench.results import Comparison, Figure, Results, Scan, paired
from tests.support.building import ROOT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="bench/serve is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]

RECORDED = r"""
{
 "format": 1, "made": "2026-01-02T03:04:05+00:00", "command": "python -m bench all",
 "python": "CPython 3.11.7", "machine": {"cpu": "Some (R) CPU"}, "versions": {"uvloop": "0.1"},
 "serve": {
  "seconds": 0.4, "cpus": [1, 0], "absent": {"gevent": "gevent is not installed"},
  "workloads": {
   "ping-pong": {"unit": "line", "unfinished": {}, "samples": {
     "fastchat": {"cpu": [2.0, 4.0, 3.0], "rate": [10.0, 20.0, 30.0], "server_share": [1, 1, 1],
                  "load_share": [0.5, 0.5, 0.5], "waiting_share": [0, 0, 0.3],
                  "p50": [1.0, 1.0, 1.0], "p99": [2.0, 2.0, 2.0]},
     "uvloop-protocol": {"cpu": [1.0, 5.0, 2.0], "rate": [10.0, 20.0, 30.0],
                         "server_share": [1, 1, 1]},
     "c": {"cpu": [1.0, null, 1.0], "rate": [90.0, null, 90.0], "server_share": [1, null, 1],
           "load_share": [0.99, null, 0.99]}}},
   "idle-10000": {"unit": "line", "unfinished": {"stdlib": "too slow"}, "samples": {
     "fastchat": {"cpu": [2.0, 4.0, 3.3], "rate": [10.0, 20.0, 30.0], "server_share": [1, 1, 1],
                  "memory": [0.9, 0.9, 0.9]},
     "stdlib": {"cpu": [null, null, null]}}}}},
 "scan": {"absent": {"stdlib asynchat": "gone"}, "cases": [
  {"kind": "search", "label": "lines of 1024 bytes", "line": 1024, "terminator": "\\r\\n",
   "size": 65536, "matches": 64, "bytes": 65536, "left_out": {},
   "seconds": {"fastchat, compiled": [2e-6, 2e-6], "C, memchr": [1e-6, 1e-6]}},
  {"kind": "cut", "label": "lines of 32 bytes", "line": 32, "terminator": "\\r\\n",
   "size": 65536, "matches": 0, "bytes": 65536, "left_out": {"bytes.split": "no"},
   "seconds": {"fastchat, compiled": [2e-3, 2e-3], "stdlib asynchat": [2e-2, 1e-2]}}]}
}
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Results:
    (tmp_path / "recorded.json").write_text(RECORDED)
    return Results.read(tmp_path / "recorded.json")


@pytest.fixture
def serve(recorded: Results) -> Any:
    return recorded.serve


def test_results_survive_their_file(recorded: Results, tmp_path: Path) -> None:
    path = recorded.write(tmp_path / "new")
    assert path.name == "2026-01-02-some-r-cpu-cpython-3.11.7.json"
    assert Results.read(path) == recorded


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(ValueError, match="not of format 1"):
        Results.read(tmp_path / "old.json")


def test_results_say_where_they_are_from() -> None:
    here = Results.here("make bench")
    assert here.machine["cpu"]
    assert here.versions["C compiler"]
    assert here.versions["fast-asynchat"]


def test_figures_are_medians_and_ratios_are_paired(serve: Any) -> None:
    comparison = serve.workloads["ping-pong"]
    assert comparison.figure("fastchat", "cpu") == Figure(3.0, 2.0, 4.0)
    # Of 2, 0.8 and 1.5, and not of the medians, 3 and 2.
    assert comparison.ratio("fastchat", "uvloop-protocol") == Figure(1.5, 0.8, 2.0)
    assert comparison.ratio("fastchat", "c") == Figure(2.5, 2.0, 3.0)
    assert comparison.ratio("fastchat", "gevent") is None
    assert comparison.figure("c", "p50") is None
    assert paired([None], [None]) is None


def test_workload_table(serve: Any) -> None:
    table = tables.workload_table("ping-pong", serve.workloads["ping-pong"])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["CPU µs per line"] == "3.00"
    assert row["least - most"] == "2.00 - 4.00"
    assert (row["/ uvloop"], row["/ stdlib"], row["/ C"]) == ("1.50", "", "2.50")
    assert (row["lines/s"], row["load"]) == ("20.0", "50%")
    assert "KiB per idle" not in row
    assert "The load was at its limit, not the server: C, epoll and memchr." in table.remarks
    table = tables.workload_table("idle-10000", serve.workloads["idle-10000"])
    assert table.rows[0][-1] == "0.900"
    assert table.remarks == ["stdlib asynchat: too slow."]


def test_noise_is_reported(serve: Any) -> None:
    comparison: Comparison = serve.workloads["ping-pong"]
    assert tables.disturbance([comparison]) == ""
    quiet = comparison.samples["fastchat"][0]
    assert quiet
    comparison.samples["fastchat"] = [replace(quiet, waiting_share=0.25)]
    assert "up to 25% of the time" in tables.disturbance([comparison])


def test_losses_are_named(serve: Any) -> None:
    assert tables.losses(serve) == [
        "ping-pong: fastchat's CPU time is 1.50 times uvloop Protocol's, within the spread."
    ]
    serve.workloads["idle-10000"].unfinished["fastchat"] = "too slow"
    assert "idle-10000: fastchat did not do it: too slow." in tables.losses(serve)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0123, "0.012"),
        (0.5, "0.500"),
        (9.876, "9.88"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.0, "1,230"),
        (1234567.0, "1,230,000"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert tables.number(value) == text


def test_targets(serve: Any) -> None:
    rows = {tuple(row[:2]): row[2:] for row in targets.table(serve).rows}
    over_uvloop = "CPU time of fastchat, compiled over uvloop Protocol"
    assert rows["ping-pong", over_uvloop] == ["0.970", "1.50", "0.800 - 2.00", "NO"]
    assert rows["pipelined-16", over_uvloop][-1] == "not measured"
    beside = "CPU time of fastchat, compiled, over its ping-pong"
    assert rows["idle-10000", beside] == ["1.08", "1.00", "1.00 - 1.10", "yes"]
    assert rows["idle-10000", "KiB of memory per idle connection"][-1] == "yes"
    assert len(rows) == 41
    assert not targets.are_all_met(serve)


def test_headlines_of_the_scan(recorded: Results) -> None:
    assert recorded.scan
    assert tables.scan_headlines(recorded.scan).rows == [
        ["find_terminators over memchr, lines of 1,024 bytes", "0.500", "0.500 - 0.500"],
        [
            "handle_read of fastchat, compiled over the stdlib's, lines of 32 bytes, idle hooks",
            "7.50",
            "5.00 - 10.0",
        ],
    ]
    searching, cutting = tables.scan_tables(recorded.scan)
    assert searching.rows == [["lines of 1024 bytes", "64", "31.2 (32.8)", "15.6 (65.5)"]]
    assert cutting.rows[0][2:] == ["(0.033)", "(0.004)", ""]
    assert cutting.remarks == ["bytes.split, lines of 32 bytes: no."]
    assert tables.scan_headlines(Scan()).rows == []


def test_report_replaces_its_section_only(recorded: Results, tmp_path: Path) -> None:
    document, source = tmp_path / "page.md", tmp_path / "recorded.json"
    source.with_suffix(".svg").touch()
    document.write_text(f"Before.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n")
    report.rewrite(document, source)
    once = document.read_text()
    report.rewrite(document, source)
    assert document.read_text() == once
    assert once.startswith(f"Before.\n\n{report.BEGIN}\n")
    assert once.endswith(f"{report.END}\n\nAfter.\n")
    assert "old" not in once
    for expected in (
        "[recorded.json](recorded.json)",
        "![lines per CPU second](recorded.svg)",
        "| fastchat, compiled | 3.00 | 3.30 |",
        "| uvloop Protocol | 1.50 (0.800 - 2.00) |  |",
        "- ping-pong: fastchat's CPU time is 1.50 times uvloop Protocol's",
        "Left out: gevent (gevent is not installed).",
        "stdlib asynchat, idle-10000: too slow.",
    ):
        assert expected in once
    with pytest.raises(report.NoMarkers):
        report.rewrite(source, source)


def test_the_page_has_the_markers() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.index(report.BEGIN) < page.index(report.END)


@pytest.mark.filterwarnings("default")  # of matplotlib's own imports
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_picture(suffix: str, recorded: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = importlib.import_module("bench.picture")
    picture.draw(recorded, tmp_path / f"picture{suffix}")
    content = (tmp_path / f"picture{suffix}").read_bytes()
    assert b"fastchat, compiled" in content or content.startswith(b"\x89PNG")
