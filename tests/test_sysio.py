"""``recv`` and ``send`` do on every implementation what the socket does.

The long run is ``python -m tests.random.calls``; see that module for what is compared.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from tests.random import calls
from tests.support.channels import PATIENCE, Stage


@pytest.mark.compiled
def test_random_calls_agree() -> None:
    first = random.randrange(2**32)
    for seed in range(first, first + 300):
        difference = calls.disagreement(seed)
        assert difference is None, difference


@pytest.mark.compiled
def test_nothing_waits_for_room_like_something() -> None:
    assert calls.disagreement(4266) is None


@pytest.mark.compiled
def test_a_disagreement_is_found_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    play = calls.play

    def lossy(seed: int, name: str) -> list[Any]:
        records = play(seed, name)
        return records[:-1] if name == "python" else records

    monkeypatch.setattr(calls, "play", lossy)
    assert "seed 7" in str(calls.disagreement(7))


@pytest.mark.parametrize("takes", [1_000_000, 600_000], ids=["all", "and then it closes"])
def test_a_blocking_socket_sends_all_that_it_can(stage: Stage, takes: int) -> None:
    chat = stage.chat()
    chat.socket.settimeout(None)
    chat.peer.settimeout(PATIENCE)

    def work() -> None:
        left = takes
        while left:
            left -= len(chat.peer.recv(min(left, 65536)))
        if takes < 1_000_000:
            chat.peer.close()

    reader = threading.Thread(target=work)
    reader.start()
    stage.at_the_end(reader.join, PATIENCE)
    sent = chat.send(b"x" * 1_000_000)
    assert takes <= sent <= 1_000_000
    assert chat.events == []
    if takes < 1_000_000:
        assert chat.send(b"y") == 0
        assert chat.events == ["close"]
