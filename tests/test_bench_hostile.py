"""The scenarios of bench/hostile: that each plays, and that each notices what is beyond its bound.

They are tiny here, and nothing looks at how long anything takes, or at a share of a CPU.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any

import pytest

pytest.importorskip("resource", reason="bench/hostile is for Linux")

from bench.hostile import __main__ as command
from bench.hostile.figures import Figure, count, kib
from bench.hostile.server import Server
from tests.support.implementations import FASTCHAT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="bench/hostile is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]

TINY = {
    "flood": ["--bytes", "1000000"],
    "unread": ["--bytes", "20000000"],
    "slowloris": ["--slow", "10", "--deadline", "1.2"],
    "greedy": ["--greedy", "20", "--max-memory", "4000000"],
    "descriptors": ["--watch", "0.1"],
    "urgent": ["--watch", "0.1"],
    "stop": ["--rate", "500", "--seconds", "0.2", "--rounds", "2"],
}
# Figures that are not of time: where a server keeps its limits, they are met on any machine.  That
# of the feed is within 2 % of its bound, and a tracer in the server takes more than that.
CERTAIN = {
    "flood": "memory grows",
    "unread": "no reply is read: memory grows",
    "greedy": "of 2 that hold a few KiB, ended|memory grows",
    "urgent": "not answered",
    "stop": "not answered|not whole|are reset|exit statuses",
}
# With what a server that is beyond a bound, and which figure says so.
BEYOND = {
    "flood": (["--server-options", "--max-line none"], "memory grows"),
    "unread": (["--server-options", "--max-output none --high-water none"], "memory grows"),
    "slowloris": (["--server-options", "--line-timeout none"], "told the end"),
    "greedy": (["--server-options", "--max-memory none"], "hold most, ended|memory grows"),
    "stop": (["--channel", "tests.support.deaf:Deaf"], "received in full"),
}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command; returns its exit status, and the lines of figures."""
    monkeypatch.setattr(command, "allow_descriptors", lambda: 10_000)

    def play(*words: str) -> tuple[int, list[str]]:
        status = command.main(words)
        printed, complaints = capsys.readouterr()
        assert complaints == ""
        return status, [line for line in printed.splitlines() if line.startswith("  ")]

    return play


@pytest.mark.parametrize("implementation", FASTCHAT)
@pytest.mark.parametrize("name", TINY)
def test_plays(name: str, implementation: str, play: Any) -> None:
    status, figures = play(name, *TINY[name], "--implementation", implementation)
    assert figures
    assert all(re.search(r": -?(inf|[\d,.]+)", figure) for figure in figures)
    assert status == any("BEYOND" in figure for figure in figures)
    for figure in figures:
        if re.search(CERTAIN.get(name, "^$"), figure):
            assert figure.endswith(", met")


@pytest.mark.parametrize("name", BEYOND)
def test_notices_what_is_beyond(name: str, play: Any) -> None:
    words, wanted = BEYOND[name]
    status, figures = play(name, *TINY[name], *words, "--implementation", "python")
    assert status == 1
    found = [figure for figure in figures if re.search(wanted, figure)]
    assert found
    assert all(figure.endswith("BEYOND") for figure in found)


@pytest.mark.parametrize("name", ["descriptors", "urgent"])
def test_notices_a_spin(name: str, play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "cpu_share", lambda self, over: 0.5)
    status, figures = play(name, *TINY[name], "--implementation", "python")
    assert status == 1
    assert "50.00% of a CPU" in figures[0]
    assert figures[0].endswith("BEYOND")


def test_shows_a_rival_and_does_not_judge_it(play: Any) -> None:
    status, figures = play("flood", *TINY["flood"], "--implementation=python", "--beside=streams")
    assert status == 0
    beside = [figure for figure in figures if "beside, streams" in figure]
    assert len(beside) == 2
    assert not any("at most" in figure for figure in beside)


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (Figure("lost", 0, count, 0), "lost: 0, at most 0, met"),
        (Figure("lost", 1, count, 0), "lost: 1, at most 0, BEYOND"),
        (Figure("ended", 3, count, least=4), "ended: 3, at least 4, BEYOND"),
        (Figure("grown", float("nan"), kib, 1024), "grown: nan KiB, at most 1 KiB, BEYOND"),
        (Figure("grown", 2048, kib), "grown: 2 KiB"),
    ],
)
def test_verdicts(figure: Figure, shown: str) -> None:
    assert str(figure) == shown
    assert figure.is_within == ("BEYOND" not in shown)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flod"], "no such scenario: flod; there are flood, unread,"),
        (["--slow", "10000"], "need 10100 descriptors: 10000 may be open"),
        (["--rounds", "0"], "a number above 0 is wanted, not '0'"),
        (["--bytes", "many"], "a number above 0 is wanted, not 'many'"),
    ],
)
def test_usage(words: list[str], said: str, play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        play(*words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_says_why_a_server_does_not_listen(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["urgent", "--implementation", "python", "--server-options", "--max-line wide"]
    assert command.main(words) == 1
    assert "a size such as 65536, 64K or none, not 'wide'" in capsys.readouterr().err
