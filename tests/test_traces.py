"""The traces of random scripts agree, and how a stream was split does not show.

The long run is ``python -m tests.random.traces``; see that module for what is compared.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import cycle
from typing import Any

import pytest

from tests.random import traces
from tests.support import naive
from tests.support.implementations import Implementation


@pytest.mark.compiled
def test_random_scripts_agree_call_by_call() -> None:
    first = random.randrange(2**32)
    for seed in range(first, first + 1500):
        difference = traces.disagreement(seed)
        assert difference is None, difference


@pytest.mark.compiled
def test_a_disagreement_is_found_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself can fail: a twin that loses one byte is caught, with its seed."""
    play = traces.play

    def lossy(script: traces.Script, name: str) -> list[traces.Record]:
        records = play(script, name)
        return records[:-1] if name == "python" else records

    monkeypatch.setattr(traces, "play", lossy)
    difference = traces.disagreement(7)
    assert difference is not None
    assert "seed 7" in difference
    assert "cython and python differ" in difference


class _Feed:
    """A socket that receives one prepared piece at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)

    def fileno(self) -> int:
        return 1_000_000

    def recv(self, size: int) -> bytes:
        return next(self.pieces)


def _pieces_found(
    implementation: Implementation, chunks: list[bytes], terminators: Iterable[Any]
) -> list[bytes]:
    """What stood before each terminator, and what is left, when *chunks* arrive in turn."""

    class Channel(implementation.asynchat.async_chat):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(map={})
            self.socket = _Feed(chunks)
            self.found = [b""]
            self.following = iter(terminators)
            self.set_terminator(next(self.following))

        def collect_incoming_data(self, data: bytes) -> None:
            self.found[-1] += data

        def found_terminator(self) -> None:
            self.found.append(b"")
            self.set_terminator(next(self.following))

    channel = Channel()
    for _ in chunks:
        channel.handle_read()
    channel.found[-1] += channel.ac_in_buffer
    found: list[bytes] = channel.found
    return found


def test_every_chunking_of_every_small_stream(implementation: Implementation) -> None:
    terminators: list[Any] = [b"\n", b"\r\n", b"\r\r\n"]
    if not implementation.is_stdlib:
        terminators += [(b"\r\n", b"\n"), (b"a\r", b"\r\n", b"\r\r")]
    for stream in naive.words(b"a\r\n", 5, 1):
        for terminator in terminators:
            several = terminator if isinstance(terminator, tuple) else (terminator,)
            complete, rest = naive.frames(stream, several)
            for chunks in naive.chunkings(stream):
                found = _pieces_found(implementation, chunks, cycle([terminator]))
                assert found == [*complete, rest], (chunks, terminator)


def test_any_chunking_of_a_long_stream(implementation: Implementation) -> None:
    """Terminators of all kinds take turns; only the bytes decide what comes between them."""
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    kinds: list[Any] = [b"\r\n", b"\n", b"\r\n.\r\n", 1, 7, 300]
    if not implementation.is_stdlib:
        kinds.append((b"b\n", b"\r\n", b"\n"))
    for _ in range(60):
        stream = bytes(draw.choices(b"ab.\r\n", weights=(8, 8, 3, 4, 4), k=draw.randrange(1, 3000)))
        order = draw.choices(kinds, k=7)
        whole = _pieces_found(implementation, [stream], cycle(order))
        chunks = []
        rest = stream
        while rest:
            size = draw.choice([1, 2, 5, 40, 400])
            chunks.append(rest[:size])
            rest = rest[size:]
        assert _pieces_found(implementation, chunks, cycle(order)) == whole, f"seed {seed}"
        each_byte = [stream[i : i + 1] for i in range(len(stream))]
        assert _pieces_found(implementation, each_byte, cycle(order)) == whole, f"seed {seed}"
