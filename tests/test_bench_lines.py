"""The benchmark of bench/lines.py: that all contenders find the same, and what is made of it.

Nothing here looks at how long anything takes.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench import lines
from bench.__main__ import main
from bench.lines import COMPILED, HAND, JARACO, PURE, Case, Miscount
from tests.support.building import ROOT
from tests.support.implementations import FASTCHAT, load

# The compiled one only where it is tested.
NAMES = dict(zip(FASTCHAT, (COMPILED, PURE), strict=True))
RIVALS = {lines.JARACO: "jaraco.stream", lines.H11: "h11"}


def is_installed(module: str) -> bool:
    """Whether this one is, not only its namespace: setuptools brings a part of jaraco's."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", FASTCHAT)
@pytest.mark.parametrize(("size", "read"), [(2, 1), (8, 5), (32, 4096), (5000, 4096), (9, 9)])
def test_all_contenders_find_the_same(name: str, size: int, read: int) -> None:
    load(name)
    made, absent = lines.contenders()
    expected = {HAND, lines.STREAM, lines.PIPE, NAMES[name]}
    expected |= {rival for rival, module in RIVALS.items() if is_installed(module)}
    assert expected <= set(made)
    assert len(made) + len(absent) == 7
    data = (b"x" * (size - 2) + b"\r\n") * 7
    reads = [data[at : at + read] for at in range(0, len(data), read)]
    assert {found: made[found](reads) for found in made} == dict.fromkeys(made, 7)


@pytest.mark.parametrize("missing", ["jaraco.stream.buffer", "h11._receivebuffer"])
def test_a_rival_that_is_not_installed_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    _, absent = lines.contenders()
    assert any(missing in sentence for sentence in absent)


def test_a_case_has_its_lines_and_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST", 1000)
    monkeypatch.setattr(lines, "MOST_LINES", 5)
    case = Case(100, 64)
    reads = lines.input_of(case)
    assert (case.count, b"".join(reads)) == (5, (b"x" * 98 + b"\r\n") * 5)
    assert {len(data) for data in reads[:-1]} == {64}
    assert len(lines.input_of(Case(400, 64))) == 13
    many = Case(10, 50)
    assert (len(lines.input_of(many)), many.count) == (4, 20)
    # What is larger than all that is to be read is read once.
    long = Case(1002, 64)
    assert (len(lines.input_of(long)), long.count) == (16, 1)


@pytest.mark.parametrize(
    ("size", "read", "distinct", "reads", "different"),
    [
        (10, 50, 100, 10, 2),  # ten lines, five times
        (10, 50, 1000, 10, 10),
        (10, 50, 1, 10, 1),  # a read is whole
        (10, 50, 95, 12, 2),  # so is a line: nine, six times
        (300, 50, 1, 18, 6),
    ],
)
def test_the_input_repeats(
    size: int, read: int, distinct: int, reads: int, different: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST", 1000)
    monkeypatch.setattr(lines, "MOST_LINES", 50)
    case = Case(size, read, distinct)
    made = lines.input_of(case)
    assert (len(made), len(set(map(id, made)))) == (reads, different)
    assert b"".join(made) == (b"x" * (size - 2) + b"\r\n") * case.count


def nothing_found(reads: Sequence[bytes]) -> int:
    return len(reads) - len(reads)


def test_a_miscount_ends_it() -> None:
    with pytest.raises(Miscount, match=r"wrong found 0 lines, not 50000"):
        lines.measure(Case(8, 65536), {HAND: lines.by_hand, "wrong": nothing_found}, 1, 1.0)


def test_rounds_end_in_time() -> None:
    among = {HAND: lines.by_hand, "same": lines.by_hand}
    short, long = Case(1000, 65536), Case(1000, 65536)
    lines.measure(short, among, 9, 0.0)
    lines.measure(long, among, 9, 1e9)
    assert (len(short.times["same"]), len(long.times["same"])) == (lines.LEAST_ROUNDS, 9)
    assert [taken for taken, _ in long.times[HAND]] == [hand for _, hand in long.times["same"]]


def test_who_would_copy_for_seconds_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # 16 reads for a line: before each but the first what is left of that line is joined to it.
    monkeypatch.setattr(lines, "MOST", 1 << 16)
    case = Case(1 << 16, 4096)
    among = {HAND: lines.by_hand, JARACO: nothing_found, "other": lines.by_hand}
    monkeypatch.setattr(lines, "QUADRATIC", {HAND: 4096 * 120 - 1, JARACO: 0})
    lines.measure(case, among, 1, 1.0)
    assert case.copied() == 4096 * 120
    assert set(case.left_out) == {HAND, JARACO}
    assert list(case.times) == ["other"]
    assert case.ratio("other") is None
    table = lines.cost_table(4096, [case], among)
    cells = dict(table.rows)
    assert (cells[HAND], cells[JARACO]) == ("left out", "left out")
    assert cells["other"].startswith("(")
    assert len(table.remarks) == 2
    monkeypatch.setattr(lines, "QUADRATIC", {HAND: 4096 * 120})
    case = Case(1 << 16, 4096)
    lines.measure(case, {HAND: lines.by_hand, "other": lines.by_hand}, 1, 1.0)
    assert not case.left_out


@pytest.fixture
def recorded() -> list[Case]:
    """A line of 32 bytes, in which the compiled one takes half, and everybody else the double."""
    times: dict[str, list[tuple[float, float | None]]] = {
        HAND: [(2.0, 2.0), (4.0, 4.0), (6.0, 6.0)],
        COMPILED: [(1.0, 2.0), (2.0, 4.0), (6.0, 6.0)],
        PURE: [(4.0, 2.0), (8.0, 4.0), (12.0, 6.0)],
        JARACO: [(2.5, 2.0), (1.0, 4.0), (1.0, 6.0)],
    }
    return [Case(32, 65536, count=10**9, times=times)]


def test_the_tables(recorded: list[Case]) -> None:
    (case,) = recorded
    table = lines.cost_table(65536, recorded, [HAND, COMPILED])
    assert table.columns == ["contender", "32 B"]
    assert table.rows == [[HAND, "1.00 (4.00)"], [COMPILED, "0.500 (2.00)"]]
    assert case.each("nobody") is None
    rows = lines.target_table(recorded).rows
    assert [row[3:] for row in rows if row[1] == "32 B"] == [
        ["0.500", "0.500 - 1.00", "yes"],
        ["2.00", "2.00 - 2.00", "NO"],
    ]
    assert {row[5] for row in rows if row[1] != "32 B"} == {"not measured"}


@pytest.mark.parametrize(("version", "bound"), [((3, 11), 0.75), ((3, 12), 0.85), ((3, 15), 0.85)])
def test_a_bound_is_that_of_the_interpreter(
    version: tuple[int, int], bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert lines.TARGETS[0].bound == bound


def test_who_is_ahead_is_named(recorded: list[Case]) -> None:
    where = "lines of 32 bytes in reads of 65,536"
    assert lines.losses(recorded) == [
        f"Behind: {COMPILED}, {where}: 2.00 times {JARACO}.",
        f"Behind: {PURE}, {where}: 2.00 times {HAND}; 8.00 times {JARACO}.",
    ]


# The command line.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to no input."""
    monkeypatch.setattr(lines, "MOST", 1 << 14)


@pytest.mark.usefixtures("small")
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rounds", "1", "--read", "4096", "--read", "512", "--size", "32", "--size", "8192"]
    assert main(["lines", *words]) == 0
    printed = capsys.readouterr().out
    for expected in ("reads of 4,096 bytes", "reads of 512 bytes", "32 B", "8,192 B", PURE):
        assert expected in printed
    assert printed.count("not measured") == len(lines.TARGETS)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("is_met", [True, False])
def test_the_command_judges(
    is_met: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = float("inf") if is_met else 0.0
    target = lines.Target(32, PURE, (bound, bound))
    monkeypatch.setattr(lines, "TARGETS", [target])
    assert main(["lines", "--targets", "--rounds", "1"]) == (0 if is_met else 1)
    printed = capsys.readouterr().out
    assert "reads of 65,536 bytes" in printed
    assert "reads of 4,096 bytes" not in printed


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [(Miscount("x found 1"), 1, "x found 1"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_what_ends_the_command(
    failure: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(lines, "measure", fail)
    assert main(["lines", "--rounds", "1", "--read", "64"]) == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--rounds", "0"], ["--read", "0"], ["--size", "1"], ["--distinct", "0"]]
)
def test_what_makes_no_sense_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lines", *words]) == 2
    assert "have to be at least 1" in capsys.readouterr().err


def test_the_module_is_a_command_as_well() -> None:
    command = [sys.executable, "-m", "bench.lines", "--size", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "have to be at least 1" in done.stderr
