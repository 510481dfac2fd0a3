"""Instructions per line, counted by callgrind, over those of the standard library's asynchat.

Time on a shared machine varies by tens of percent; the number of user-space instructions does not.
One process, one thread: a TCP socket that is connected to itself gets back what its echo server
sends, so lines go round for ever, as many at a time as were sent at first, and each receive gets
all of them.  What two runs of different length differ by is the cost of the lines between them.
The kernel's share is not counted.

What is kept, in ``instructions.json``, are ratios over the standard library's asynchat (pyasynchat
where the interpreter has none), counted in the same run: those move little with the interpreter's
build.  ``make instructions`` fails where a ratio is above the one that is kept by more than
``TOLERANCE``; ``make instructions WRITE=yes`` writes the ratios of this interpreter anew.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("instructions.json")

# How much more than what is kept is let pass.
TOLERANCE = 0.05

# How many lines are in flight, by the name of the workload, and how many rounds are made at least.
WORKLOADS = {"ping-pong": (1, 400), "16 in flight": (16, 60), "256 in flight": (256, 20)}

# A run is counted so often, and the least of it taken: now and then one has a few million
# instructions more than the others, which repeat to the last one.
ATTEMPTS = 3

IMPLEMENTATIONS = ("cython", "python")
YARDSTICK = "asynchat"

LINE = b"thirty bytes of line and CRLF\r\n"


class Failed(Exception):
    """Something that is needed is missing, or a run did not end well."""


def serve(implementation: str, in_flight: int, rounds: int) -> None:
    """Let *in_flight* lines go round *rounds* times."""
    if implementation == YARDSTICK:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asynchat = importlib.import_module("asynchat")
            asyncore = importlib.import_module("asyncore")
    else:
        asynchat = importlib.import_module("fastchat.asynchat")
        asyncore = asynchat.asyncore
    left = in_flight * rounds

    class Echo(asynchat.async_chat):  # type: ignore[misc, name-defined]
        def __init__(self, sock: socket.socket) -> None:
            super().__init__(sock)
            self.set_terminator(b"\r\n")
            self.pieces: list[bytes] = []

        def collect_incoming_data(self, data: bytes) -> None:
            self.pieces.append(data)

        def found_terminator(self) -> None:
            nonlocal left
            line = b"".join(self.pieces)
            self.pieces.clear()
            self.push(line + b"\r\n")
            left -= 1
            if not left:
                raise asyncore.ExitNow

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.connect(sock.getsockname())
    # Else every second line waits for a delayed acknowledgement, and the loop checks meanwhile.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(LINE * in_flight)
    Echo(sock)
    # A collection of all that was imported costs as much as twenty lines, and whether one falls
    # into the longer run alone depends on what else is installed.
    getattr(gc, "freeze", gc.collect)()  # PyPy has no freeze
    try:
        asyncore.loop(use_poll=True)
    except asyncore.ExitNow:
        sock.close()


def count(implementation: str, in_flight: int, rounds: int) -> int:
    """The instructions of a whole run.  Raises Failed."""
    environment = {
        **os.environ,
        "FASTCHAT_IMPLEMENTATION": "auto" if implementation == YARDSTICK else implementation,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command = [sys.executable, "-m", "bench.instructions", "--serve", implementation]
    done = subprocess.run(
        [*tool, *command, str(in_flight), str(rounds)],
        env=environment,
        cwd=KEPT.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise Failed(f"{' '.join(command)} under valgrind: {done.stderr[-2000:]}")
    return int(found[1])


def per_line(implementation: str, workload: str) -> float:
    """The instructions for one line."""
    in_flight, rounds = WORKLOADS[workload]
    serve_once = [sys.executable, "-m", "bench.instructions", "--serve", implementation, "1", "1"]
    # Bytecode that the first of the two runs had to compile would be subtracted from its lines.
    subprocess.run(serve_once, cwd=KEPT.parent.parent, check=True, timeout=60)
    few, many = (
        min(count(implementation, in_flight, times * rounds) for _ in range(ATTEMPTS))
        for times in (1, 2)
    )
    return (many - few) / (in_flight * rounds)


def ratios() -> dict[str, dict[str, float]]:
    """The ratios of all workloads and implementations; prints what is counted."""
    found: dict[str, dict[str, float]] = {}
    for workload in WORKLOADS:
        yardstick = per_line(YARDSTICK, workload)
        print(f"{workload}: {YARDSTICK} {yardstick:,.0f} instructions a line", flush=True)
        found[workload] = {}
        for implementation in IMPLEMENTATIONS:
            own = per_line(implementation, workload)
            ratio = found[workload][implementation] = round(own / yardstick, 4)
            print(f"  {implementation} {own:,.0f}, {ratio:.3f} of that", flush=True)
    return found


def worse(found: dict[str, dict[str, float]], kept: dict[str, dict[str, float]]) -> list[str]:
    """What is above what is kept by more than TOLERANCE, a line each."""
    lines = []
    for workload, by_implementation in found.items():
        for implementation, ratio in by_implementation.items():
            before = kept[workload][implementation]
            if ratio > before * (1 + TOLERANCE):
                change = f"{before:.3f} is kept, {ratio:.3f} was counted"
                lines.append(f"{workload}, {implementation}: {change}")
    return lines


def version() -> str:
    """The interpreter's, as results are kept under it."""
    return ".".join(platform.python_version_tuple()[:2])


def main(arguments: list[str] | None = None) -> int:
    """Count, and compare or write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is counted")
    parser.add_argument("--serve", nargs=3, metavar=("WHAT", "IN_FLIGHT", "ROUNDS"))
    options: Any = parser.parse_args(arguments)
    if options.serve:
        what, in_flight, rounds = options.serve
        serve(what, int(in_flight), int(rounds))
        return 0
    if shutil.which("valgrind") is None:
        print("instructions: there is no valgrind; install it (Debian: apt-get install valgrind)")
        return 1
    kept = json.loads(KEPT.read_text())
    if not options.write and version() not in kept:
        print(f"instructions: nothing is kept for Python {version()}, so nothing is compared")
        return 0
    try:
        found = ratios()
    except Failed as failure:
        print(f"instructions: {failure}")
        return 1
    if options.write:
        kept[version()] = found
        KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
        return 0
    lines = worse(found, kept[version()])
    print(*(lines or [f"none is more than {TOLERANCE:.0%} above what is kept"]), sep="\n")
    print(f"instructions: {len(lines)} worse")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
