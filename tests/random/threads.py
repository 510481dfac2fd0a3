"""Threads that do whatever they like to the channels of each other's loops, at random.

Each of two maps has channels in pairs; one has a loop, the other two, which old programs do, too.
What must hold: nothing crashes, no thread hangs, nothing raises, and what each thread pushes to a
channel with one loop arrives whole, once, and in order.  With a GIL this says little; without one
it is what the locks of the compiled core are for.

    python -m tests.random.threads --seed 1 --rounds 20
"""

from __future__ import annotations

import argparse
import random
import socket
import threading
import traceback
from typing import Any

from tests.support.implementations import AUTOMATIC, FASTCHAT, Implementation, load

PATIENCE = 60  # seconds

LOOPS = 3  # threads that make passes, two of them over one map
VISITORS = 3  # threads that make none
CHATS = 4  # in each map, besides those that visitors make and close


class Play:
    """One round: some loops, and visitors that make *steps* steps each."""

    def __init__(self, implementation: Implementation, seed: int, steps: int) -> None:
        self.asyncore, self.asynchat = implementation.asyncore, implementation.asynchat
        self.seed = seed
        self.steps = steps
        self.problems: list[str] = []
        self.is_over = threading.Event()
        self.chat = self._class()
        self.maps: list[Any] = [self.asyncore.channel_map(), {}]
        self.pairs = [self._pair(map) for map in self.maps for _ in range(CHATS)]

    def _class(self) -> Any:
        problems = self.problems

        class Chat(self.asynchat.async_chat):  # type: ignore[misc, name-defined]
            """Keeps what it receives, piece by piece; answers a line that asks for it."""

            def __init__(self, sock: socket.socket, map: Any) -> None:
                super().__init__(sock, map)
                self.set_terminator(b";")
                self.lines: list[bytes] = []
                self.pieces: list[bytes] = []

            def collect_incoming_data(self, data: bytes) -> None:
                self.pieces.append(data)

            def found_terminator(self) -> None:
                self.lines.append(b"".join(self.pieces))
                self.pieces = []
                if self.lines[-1].endswith(b"?"):
                    self.push(b"answer:" + self.lines[-1][:-1] + b";")

            def handle_error(self) -> None:
                problems.append(traceback.format_exc())
                self.close()

        return Chat

    def _pair(self, map: Any) -> tuple[Any, Any]:
        near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return self.chat(near, map), self.chat(far, map)

    def play(self) -> None:
        """Raises AssertionError where something does not hold."""
        loops = [self.maps[0], *[self.maps[1]] * (LOOPS - 1)]
        works = [lambda map=map: self._loop(map) for map in loops]
        works += [lambda number=number: self._visit(number) for number in range(VISITORS)]
        threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads[LOOPS:]:
            thread.join(PATIENCE)
        self._await_the_rest()
        self.is_over.set()
        for thread in threads[:LOOPS]:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads), self._said("a thread hangs")
        for map in self.maps:
            self.asyncore.close_all(map, ignore_all=True)
        assert not self.problems, self._said("\n".join(self.problems))
        for near, far in self.pairs[:CHATS]:
            for channel in (near, far):
                self._check(channel.lines)

    def _said(self, problem: str) -> str:
        return f"seed {self.seed}: {problem}"

    def _run(self, work: Any) -> None:
        try:
            work()
        except BaseException:
            self.problems.append(traceback.format_exc())

    def _loop(self, map: Any) -> None:
        while not self.is_over.is_set():
            self.asyncore.loop(0.05, self.seed % 2 == 0, map, 20)

    def _await_the_rest(self) -> None:
        """Until all that was pushed has arrived."""
        for near, far in self.pairs[:CHATS]:
            for sender, receiver in ((near, far), (far, near)):
                sender.push(b"last;")
                for _ in range(PATIENCE * 100):
                    if b"last" in receiver.lines:  # an answer may come behind it
                        break
                    self.is_over.wait(0.01)
                else:
                    self.problems.append(f"{receiver!r} waits, {sender!r} has output left")

    def _check(self, lines: list[bytes]) -> None:
        """All of each thread is in *lines*, in order."""
        found: dict[bytes, list[int]] = {}
        for line in lines:
            if line != b"last":
                name, number = line.rstrip(b"?.").rsplit(b":", 1)
                found.setdefault(name, []).append(int(number))
        for name, numbers in found.items():
            assert numbers == list(range(len(numbers))), self._said(f"{name!r}: {numbers}")

    def _visit(self, number: int) -> None:
        """Do *steps* steps as visitor *number*."""
        chance = random.Random(f"{self.seed} {number}")
        counts: dict[tuple[int, bool], int] = {}
        own: list[Any] = []
        for _ in range(self.steps):
            index, asks = chance.randrange(len(self.pairs)), chance.random() < 0.3
            channel = self.pairs[index][number % 2]
            what = chance.randrange(12)
            if what < 5:
                count = counts[index, asks] = counts.get((index, asks), -1) + 1
                name = f"{'q' if asks else 's'}{number}:{count}"
                line = name.encode() + b"." * chance.choice([0, 3, 300])
                self._give(channel, what, line + (b"?;" if asks else b";"))
            elif what < 9:
                self._look(channel, chance)
            elif what == 9:
                own += self._pair(chance.choice(self.maps))
            elif what == 10 and own:
                own.pop(chance.randrange(len(own))).close()
            else:
                setattr(self.chat, f"a{number}", chance.random())  # another version of the class
        for channel in own:
            channel.close()

    def _give(self, channel: Any, way: int, data: bytes) -> None:
        if way < 3:
            channel.push(data)
        elif way == 3:
            channel.push(memoryview(data))
        else:
            channel.push_with_producer(self.asynchat.simple_producer(data))

    def _look(self, channel: Any, chance: random.Random) -> None:
        """Look at *channel*, or let it do what it would do by itself."""
        look = chance.choice(
            [
                lambda: len(channel.producer_fifo),
                lambda: channel.socket.fileno(),
                channel.writable,
                channel.readable,
                channel.initiate_send,
                channel.handle_write,
                channel.get_terminator,
                lambda: repr(channel),
                lambda: len(channel.ac_in_buffer) if self.is_over.is_set() else None,
            ]
        )
        look()


def main() -> None:
    parser = argparse.ArgumentParser(description="let threads disturb each other's loops")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--implementation", choices=FASTCHAT, default=AUTOMATIC)
    options = parser.parse_args()
    implementation = load(options.implementation)
    for seed in range(options.seed, options.seed + options.rounds):
        Play(implementation, seed, options.steps).play()
        print(f"seed {seed}: all arrived, in order", flush=True)


if __name__ == "__main__":
    main()
