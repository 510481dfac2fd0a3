"""Show what a loop for each thread gains: ``python -m bench.threads``.

Each thread has a map of its own, and in it pairs of channels: one sends a line, the other answers,
and so on.  Server and client are in the same thread, so that no load outside takes a share of the
CPUs.  One thread and several take turns; what counts is the median of their pairs.

With a GIL several threads answer no more than one.  Without it, they should answer as many times
more as there are CPUs.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import threading
import time
from typing import Any

import fastchat
from fastchat import asynchat, asyncore

PAIRS = 10  # of channels in each thread
LINE = b"thirty bytes of line and CRLF\r\n"
PATIENCE = 60.0  # seconds


class Answerer(asynchat.async_chat):
    """Answers each line with itself; the client's end counts them."""

    def __init__(self, sock: socket.socket, map: Any, answers: list[int] | None) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\r\n")
        self.pieces: list[bytes] = []
        self.answers = answers

    def collect_incoming_data(self, data: bytes) -> None:
        self.pieces.append(data)

    def found_terminator(self) -> None:
        line = b"".join(self.pieces)
        self.pieces.clear()
        if line + b"\r\n" != LINE:
            raise AssertionError(f"received {line!r}")
        if self.answers is not None:
            self.answers[0] += 1
        self.push(LINE)

    def handle_error(self) -> None:
        raise


def serve(begin: threading.Barrier, end: threading.Event, counts: list[int]) -> None:
    """Answer lines from *begin* until *end*, and add to *counts* how many."""
    map, answers = asyncore.channel_map(), [0]
    try:
        for _ in range(PAIRS):
            near, far = socket.socketpair()
            Answerer(near, map, None)
            Answerer(far, map, answers).push(LINE)
        begin.wait(PATIENCE)
        while True:  # some lines at least, however soon the end is
            asyncore.loop(PATIENCE, True, map, 50)
            if end.is_set():
                break
    finally:
        # The barrier stays: another thread may still be leaving it.
        asyncore.close_all(map)
    counts.append(answers[0])


def answered(threads: int, seconds: float) -> float:
    """How many lines a second *threads* threads answer."""
    begin, end = threading.Barrier(threads + 1), threading.Event()
    counts: list[int] = []
    workers = [
        threading.Thread(target=serve, args=(begin, end, counts), daemon=True)
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    begin.wait(PATIENCE)
    since = time.perf_counter()
    end.wait(seconds)
    end.set()
    for worker in workers:
        worker.join(PATIENCE)
    took = time.perf_counter() - since
    if len(counts) != threads:
        raise RuntimeError(f"{threads - len(counts)} of {threads} threads did not end well")
    return sum(counts) / took


def main() -> int:
    parser = argparse.ArgumentParser(description="compare one loop with a loop for each thread")
    parser.add_argument("--threads", type=int, default=4, help="how many (default 4)")
    parser.add_argument("--rounds", type=int, default=7, help="pairs (default 7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each half (default 1)")
    options = parser.parse_args()
    if options.threads < 2 or options.rounds < 1 or options.seconds <= 0:
        parser.error("at least two threads, one round, and some time")
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, GIL {'on' if has_gil else 'off'},", end=" ")
    print(f"fastchat: {fastchat.implementation}")
    ratios = []
    for _ in range(options.rounds):
        one, several = answered(1, options.seconds), answered(options.threads, options.seconds)
        ratios.append(several / one)
        print(f"1 thread {one:9,.0f}/s, {options.threads} threads {several:9,.0f}/s", end="")
        print(f", ratio {ratios[-1]:.2f}", flush=True)
    print(f"median {statistics.median(ratios):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
