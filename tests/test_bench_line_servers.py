"""The verdicts of bench/line_servers.py.  Nothing here looks at how long anything takes."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench import line_servers
from bench.line_servers import Pair
from bench.serve import run as serving

PAIRS = (
    Pair("asyncio-aio", "asyncio-joined", "ping-pong"),
    Pair("asyncio-aio", "asyncio-streams", "pipelined-16", 0.5),
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, with servers of *own* and one microsecond a line, of which some are absent."""

    def run(own: float, absent: dict[str, str], *words: str) -> int:
        def measure(engine: Any, *arguments: Any) -> Any:
            return SimpleNamespace(
                cpu=own if engine.name == "asyncio-aio" else 1.0, waiting_share=0
            )

        monkeypatch.setattr(line_servers, "PAIRS", PAIRS)
        monkeypatch.setattr(serving, "measure", measure)
        monkeypatch.setattr(serving, "absent", lambda names: absent)
        monkeypatch.setattr(serving.Helpers, "build", lambda: None)
        monkeypatch.setattr(sys, "argv", ["line_servers", "--rounds", "1", *words])
        return line_servers.main()

    return run


@pytest.mark.parametrize(
    ("own", "absent", "said", "status"),
    [
        (0.5, {}, "at most 0.50: met", 0),
        (0.51, {}, "at most 0.50: MISSED", 1),
        (0.5, {"asyncio-streams": "gone"}, "at most 0.50: not measured", 1),
    ],
)
def test_a_target_that_is_missed_is_an_error(
    run: Any,
    own: float,
    absent: dict[str, str],
    said: str,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(own, absent, "--targets") == status
    printed = capsys.readouterr().out
    assert said in printed
    assert "ping-pong" not in printed
    assert run(own, absent) == 0
    printed = capsys.readouterr().out
    assert said in printed
    assert "ping-pong" in printed
