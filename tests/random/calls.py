"""Random scripts for ``recv`` and ``send`` of one channel over real sockets.

Compiled, both make system calls of their own (``_sysio.pyx``); in Python the methods of the socket
do.  A script is played on each implementation, and on the standard library where there is one, and
what came of each step is compared: results, types and numbers of exceptions, and hooks that were
called.  Sockets of all kinds are there, and peers that send, read, shut down, close and reset.

Rules this file keeps: no step may wait for ever, and what depends on the kernel's mood, as how much
of a large send it takes, is compared by what arrives.  ``python -m tests.random.calls`` plays many.
"""

from __future__ import annotations

import argparse
import random
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tests.support.channels import PATIENCE, Stage
from tests.support.implementations import FASTCHAT, STDLIB, load

Step = tuple[str, Any]

KINDS = ("stream", "datagrams", "tcp")
SIZES = (1, 3, 100, 4096, 16384, 65536, 1 << 20, (1 << 20) + 1)
DATA: dict[str, Callable[[int], Any]] = {
    "bytes": lambda size: b"d" * size,
    "bytearray": lambda size: bytearray(b"d" * size),
    "memoryview": lambda size: memoryview(b"d" * size),
    "str": lambda size: "d" * size,
}


def make(seed: int) -> tuple[str, bool, list[Step]]:
    """The kind of socket, whether the channel is an async_chat, and the steps."""
    rng = random.Random(seed)
    steps: list[Step] = []
    for _ in range(rng.randrange(1, 14)):
        what = rng.choice(("peer sends", "recv", "recv", "send", "send", "timeout", "peer reads"))
        value: Any = None
        if what == "recv":
            value = rng.choice((*SIZES, 0, -1, 2**70, 1.5, None))
        elif what == "peer sends":
            value = rng.choice((1, 2, 99, 100, 5000, 20000))
        elif what == "send":
            value = rng.choice((*("bytes",) * 6, *DATA)), rng.choice((0, 1, 50, 3000, 400_000))
        elif what == "timeout":
            value = rng.choice((0, None, 0.01))
        steps.append((what, value))
    ends = ("peer shuts down", "peer closes", "peer resets", "closed behind its back", None)
    end = rng.choice(ends)
    if end is not None:
        at = rng.randrange(len(steps) + 1)
        later = [step for step in steps[at:] if step[0] in ("recv", "send", "timeout")]
        steps[at:] = [(end, None), *later, ("recv", 100), ("send", ("bytes", 10))]
    return rng.choice(KINDS), rng.random() < 0.5, steps


class Play:
    """One script on one implementation; ``records`` is what came of it."""

    def __init__(self, stage: Stage, kind: str, is_chat: bool) -> None:
        self.records: list[Any] = []
        self.kind = kind
        base = stage.asynchat.async_chat if is_chat else stage.asyncore.dispatcher
        self.mine, self.peer = stage.pair() if kind == "stream" else _pair(stage, kind)
        play = self

        class Channel(base):  # type: ignore[misc, valid-type]
            def handle_close(self) -> None:
                play.records.append("handle_close")

            def handle_error(self) -> None:
                play.records.append(("handle_error", sys.exc_info()[0]))

        self.channel = Channel(self.mine, stage.map)
        self.peer.setblocking(False)
        self.is_over = False  # whether nothing more comes from the peer

    def step(self, what: str, value: Any) -> None:
        if what == "timeout":
            if self.mine.fileno() >= 0:
                self.mine.settimeout(value)
        elif what == "peer sends":
            if self.kind != "datagrams" or value <= 5000:
                self.peer.send(b"p" * value)
                self._await_input()
        elif what == "peer reads":
            self._read()
        elif what == "recv":
            self._recv(value)
        elif what == "send":
            self._send(*value)
        elif what == "closed behind its back":
            self.mine.close()
        else:
            self._end(what)

    def _end(self, what: str) -> None:
        if what == "peer shuts down":
            self.peer.shutdown(socket.SHUT_WR)
        else:
            if what == "peer resets" and self.kind == "tcp":
                self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.peer.close()
        self.is_over = True
        if self.kind != "datagrams":
            self._await_input()

    def _await_input(self) -> None:
        assert select.select([self.mine], [], [], PATIENCE)[0]

    def _would_wait(self) -> bool:
        """Whether a call that waits would do so for ever."""
        return self.mine.fileno() >= 0 and self.mine.gettimeout() is None

    def _recv(self, size: Any) -> None:
        if self._would_wait() and not select.select([self.mine], [], [], 0)[0]:
            return
        self._call("recv", lambda: self.channel.recv(size))

    def _send(self, kind: str, size: int) -> None:
        if self._would_wait() and not select.select([], [self.mine], [], 0)[1]:
            return
        if self.kind == "datagrams" or self._would_wait():
            size = min(size, 50)  # which there is room for
        data = DATA[kind](size)
        sent = self._call("send", lambda: self.channel.send(data), is_exact=size <= 50)
        if type(sent) is int and sent and not self.is_over:
            self._read(sent)

    def _call(self, name: str, call: Callable[[], Any], is_exact: bool = True) -> Any:
        try:
            result = call()
        except Exception as failure:
            self.records.append((name, type(failure), getattr(failure, "errno", None)))
            return None
        self.records.append((name, result if is_exact else bool(result)))
        return result

    def _read(self, size: int = 0) -> None:
        """Let the peer read *size* bytes, or what there is."""
        got = b""
        while len(got) < size:
            assert select.select([self.peer], [], [], PATIENCE)[0], (len(got), size)
            got += self.peer.recv(size - len(got))
        assert got == b"d" * size


def _pair(stage: Stage, kind: str) -> tuple[socket.socket, socket.socket]:
    with ExitStack() as opened:
        if kind == "tcp":
            listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            mine = socket.create_connection(listener.getsockname(), PATIENCE)
            peer = listener.accept()[0]
        else:
            mine, peer = socket.socketpair(type=socket.SOCK_DGRAM)
    for sock in (mine, peer):
        stage.at_the_end(sock.close)
    return mine, peer


def play(seed: int, name: str) -> list[Any]:
    """What came of the script of *seed* on the implementation *name*."""
    kind, is_chat, steps = make(seed)
    with Stage(load(name)) as stage:
        played = Play(stage, kind, is_chat)
        for what, value in steps:
            played.records.append((what, value))
            played.step(what, value)
        stage.map.clear()
    return played.records


def disagreement(seed: int) -> str | None:
    """Where two implementations differ, in words; None where they do not."""
    first, *others = FASTCHAT + STDLIB
    expected = play(seed, first)
    for name in others:
        found = play(seed, name)
        for number, (one, other) in enumerate(zip(expected, found, strict=False)):
            if one != other:
                return f"seed {seed}, {make(seed)}: {first} and {name} differ at {number}: " + (
                    f"{one!r:.200} and {other!r:.200}"
                )
        if len(expected) != len(found):
            return f"seed {seed}: {first} {expected[-3:]!r:.300}, {name} {found[-3:]!r:.300}"
    return None


def main() -> int:
    """Play scripts from ``--seed`` on; returns 1 where two implementations differ."""
    parser = argparse.ArgumentParser(description="compare recv() and send() over real sockets")
    parser.add_argument("--count", type=int, default=10_000, help="scripts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"{options.count} scripts from seed {options.seed}", flush=True)
    for seed in range(options.seed, options.seed + options.count):
        difference = disagreement(seed)
        if difference is not None:
            print(difference)
            return 1
    print("all agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
