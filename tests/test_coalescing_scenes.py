"""Random scenes: the same hooks with and without held output, and what the peer and they see of it.

The scenes have seeds, and the seed of a failure is in its message.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.support.channels import PATIENCE, Stage
from tests.support.coalescing import drained, exceptions_of
from tests.support.implementations import FASTCHAT, STDLIB, Implementation, load


class Producer:
    """A producer that writes down in *trace* when it is asked."""

    def __init__(self, trace: list[Any], name: int, chunks: list[bytes]) -> None:
        self.trace = trace
        self.name = name
        self.chunks = list(chunks)

    def more(self) -> bytes:
        self.trace.append(("more", self.name))
        return self.chunks.pop(0) if self.chunks else b""


# What a hook may do that shows nothing and changes nothing.
HARMLESS: list[Callable[[Any], Any]] = [
    lambda chat: chat.socket,
    lambda chat: chat.producer_fifo,
    lambda chat: chat.writable(),
    lambda chat: chat.readable(),
    lambda chat: chat.get_terminator(),
    lambda chat: setattr(chat, "socket", chat.socket),
    lambda chat: setattr(chat, "producer_fifo", deque(chat.producer_fifo)),
]


class Scene(NamedTuple):
    """What happens: the input, as it comes, and what is done for each line."""

    seed: int
    mode: str
    chunks: list[bytes]
    actions: list[list[tuple[str, Any]]]
    size: int


def scene_of(seed: int, mode: str) -> Scene:
    draw = random.Random(f"{mode} {seed}")
    lines = [b"%d" % number * draw.randint(1, 3) for number in range(draw.randint(1, 25))]
    data = b"\n".join([*lines, draw.choice([b"", b"rest"])])
    cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randint(0, 4)))
    chunks = [
        data[begin:end]
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
        if begin < end
    ]
    return Scene(
        seed,
        mode,
        chunks,
        [[_action(draw, mode) for _ in range(draw.randint(0, 4))] for _ in lines],
        # With one that is small, more is queued than goes out.
        {
            "full": 65536,
            "partial": draw.choice([1, 5, 30, 4096, 65536]),
            "buffer": draw.choice([500, 4096, 65536]),
        }[mode],
    )


def _action(draw: random.Random, mode: str) -> tuple[str, Any]:
    text = bytes(draw.randrange(97, 123) for _ in range(draw.choice([1, 2, 5, 20])))
    if mode == "buffer":
        text *= draw.choice([1, 100])
    kind = draw.choices(
        ["push", "bytearray", "view", "empty", "producer", "look", "send", "done", "discard"],
        [20, 2, 2, 1, 3, 3, 2, 0.3, 0.5 if mode == "full" else 0],
    )[0]
    if kind == "producer":
        # One piece only, where the moments count: what comes behind several waits in the queue.
        pieces = 1 if mode == "full" else draw.randint(0, 3)
        return kind, [text] * pieces
    return kind, draw.randrange(len(HARMLESS)) if kind == "look" else text


def play(implementation: Implementation, scene: Scene, coalesce: bool) -> tuple[bytes, list[Any]]:
    """What the peer received, and all calls of hooks and producers, in order."""
    with Stage(implementation) as stage:
        base = stage.asynchat.async_chat
        draw = random.Random(f"{scene.seed} {coalesce} {implementation.name}")
        trace: list[Any] = []
        actions = list(scene.actions)
        done: list[bool] = []
        names = itertools.count()

        def send(chat: Any, data: Any) -> Any:
            take = draw.choice([0, 1, 7, len(data)])
            return base.send(chat, data[:take]) if take or not len(data) else 0

        def collect_incoming_data(chat: Any, data: bytes) -> None:
            if not done:
                trace.append(data)
                chat.push(b"[" + data + b"]")

        def found_terminator(chat: Any) -> None:
            trace.append("found")
            for kind, argument in actions.pop(0):
                if done:
                    break
                if kind == "done":
                    chat.close_when_done()
                    done.append(True)
                elif kind == "producer":
                    chat.push_with_producer(Producer(trace, next(names), argument))
                elif kind == "look":
                    HARMLESS[argument](chat)
                elif kind == "send":
                    chat.initiate_send()
                elif kind == "discard":
                    chat.producer_fifo.clear()
                else:
                    make = {"bytearray": bytearray, "view": memoryview}.get(kind, bytes)
                    chat.push(make(b"" if kind == "empty" else argument))

        def handle_close(chat: Any) -> None:
            trace.append("close")
            chat.close()

        members: dict[str, Any] = {"send": send} if scene.mode == "partial" else {}
        chat = stage.chat(
            collect_incoming_data=collect_incoming_data,
            found_terminator=found_terminator,
            handle_close=handle_close,
            ac_out_coalesce=coalesce,
            ac_out_buffer_size=scene.size,
            **members,
        )
        if scene.mode == "buffer":
            chat.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        received = b""
        for chunk in scene.chunks:
            if chat not in stage.map.values():
                break
            chat.peer.sendall(chunk)
            stage.loop(timeout=PATIENCE)
            received += drained(stage, chat)
        assert exceptions_of(chat) == [], (scene.seed, scene.mode)
        return received, trace


SEEDS = range(200)


@pytest.mark.parametrize("mode", ["full", "partial", "buffer"])
def test_any_scene_is_the_same_with_and_without(pytestconfig: pytest.Config, mode: str) -> None:
    names = [
        name
        for name in FASTCHAT
        if name != "cython" or not pytestconfig.getoption("--no-extension")
    ]
    for seed in SEEDS:
        scene = scene_of(seed, mode)
        expected = None
        plays = [(name, coalesce) for name in names for coalesce in (False, True)]
        for name, coalesce in [*((name, False) for name in STDLIB), *plays]:
            data, trace = play(load(name), scene, coalesce)
            if mode != "full":
                # Producers are asked when there is room for what they give, hooks are not.
                trace.sort(key=lambda call: isinstance(call, tuple))
            expected = (data, trace) if expected is None else expected
            assert (data, trace) == expected, f"seed {seed}, {mode}, {name}, {coalesce}"
