"""See fastchat work: ``make demo``, or ``python tools/demo.py`` where fastchat is installed.

Runs ``examples/http_server.py``, a program that imports asynchat and knows nothing of fastchat, in
a child process: on fastchat's compiled implementation, with and without held output, on its Python
twin, and, where this interpreter still has them, on the standard library's own modules.  Each gets
the same requests over loopback, from several connections at once, with heads and bodies cut at odd
places, and every answer is checked.  Then it tells what a request costs each of them, with many in
flight and with one at a time.

Rules kept here:

- only the standard library is used (and curl for some more requests, where it is installed);
- anything wrong ends it with status 1 and what the server had to say, and so does a compiled
  implementation that is missing, unless ``--allow-pure`` says that this is known;
- however it ends, it leaves no process and no file behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

PROGRAM = Path(__file__).resolve().parent.parent / "examples" / "http_server.py"
TIMEOUT = 20.0  # seconds, for whatever should happen at once
CONNECTIONS = 8
RUNS = 3  # of what is measured, of which the least counts: what disturbs one can only add to it
IN_FLIGHT = 25
SEED = 2012
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

SINGLE = "GET, one at a time"
CUT = "POST, cut at odd places"
PIPELINED = f"GET and POST, {IN_FLIGHT} in flight, cut at odd places"
REFUSED = "bad requests, refused"
CURL = "from curl"
KINDS = (SINGLE, CUT, PIPELINED, REFUSED, CURL)


class Failure(Exception):
    """What was wrong, in words for the reader of the demonstration."""


# Requests, and the answers they should get.


@dataclass(frozen=True)
class Answer:
    """What is checked of an answer; no ``report`` means that it is a refusal."""

    status: int
    report: dict[str, object] | None = None


@dataclass(frozen=True)
class Exchange:
    """Pieces to be sent one by one, and the answers that must follow, in order."""

    kind: str
    pieces: tuple[bytes, ...]
    answers: tuple[Answer, ...]


def get(path: str) -> tuple[bytes, Answer]:
    request = f"GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n".encode()
    return request, Answer(200, report("GET", path, b""))


def post(path: str, body: bytes) -> tuple[bytes, Answer]:
    head = f"POST {path} HTTP/1.1\r\nHost: demo\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body, Answer(200, report("POST", path, body))


def report(method: str, path: str, body: bytes) -> dict[str, object]:
    """What the server should have understood."""
    digest = hashlib.sha256(body).hexdigest()
    return {"method": method, "path": path, "length": len(body), "sha256": digest}


BAD_REQUESTS = (
    (b"what is this\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"DELETE / HTTP/1.1\r\nHost: demo\r\n\r\n", 405),
    (b"POST / HTTP/1.1\r\nHost: demo\r\n\r\n", 411),
    (b"POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 99999999999\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nHost: demo\r\nPadding: " + b"x" * 20_000, 431),
    (b"BREW / HTTP/1.1\r\nHost: demo\r\n\r\n", 501),
)


def cut(request: bytes, chance: random.Random) -> tuple[bytes, ...]:
    """A request in pieces: cut in the middle of the end of its head, and anywhere else."""
    end_of_head = request.index(b"\r\n\r\n")
    places = {chance.randrange(1, len(request)) for _ in range(3)}
    places.add(end_of_head + chance.randrange(1, 4))
    bounds = [0, *sorted(places), len(request)]
    return tuple(request[start:end] for start, end in pairwise(bounds))


def plan(count: int) -> list[Exchange]:
    """So many requests of all kinds, the same for everyone."""
    chance = random.Random(SEED)
    exchanges = []
    for number in range(count * 3 // 10):
        request, answer = get(f"/{number}")
        exchanges.append(Exchange(SINGLE, (request,), (answer,)))
    for number in range(count // 5):
        request, answer = post(f"/{number}", chance.randbytes(chance.choice((0, 1, 700, 70_000))))
        exchanges.append(Exchange(CUT, cut(request, chance), (answer,)))
    for number in range(count // 20):
        request, status = BAD_REQUESTS[number % len(BAD_REQUESTS)]
        exchanges.append(Exchange(REFUSED, (request,), (Answer(status),)))
    left = count - len(exchanges)
    while left > 0:
        exchanges.append(pipelined(min(left, IN_FLIGHT), chance))
        left -= IN_FLIGHT
    chance.shuffle(exchanges)
    return exchanges


def pipelined(count: int, chance: random.Random) -> Exchange:
    """An exchange of so many requests, sent without waiting for an answer."""
    both = [
        get(f"/{number}") if number % 2 else post(f"/{number}", chance.randbytes(number))
        for number in range(count)
    ]
    requests = b"".join(request for request, _ in both)
    return Exchange(PIPELINED, cut(requests, chance), tuple(answer for _, answer in both))


# The client.


class Client:
    """One connection to the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        # Without this the kernel would put the pieces of a request together again.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def exchange(self, exchange: Exchange) -> bool:
        """Send the pieces and check the answers; whether the connection can be used again."""
        for piece in exchange.pieces:
            self.socket.sendall(piece)
        for expected in exchange.answers:
            self.check(expected)
        if exchange.answers[-1].report is not None:
            return True
        if self.file.read() != b"":
            raise Failure("the server went on after it refused a request")
        return False

    def check(self, expected: Answer) -> None:
        """Read one answer; raise Failure unless it is the one that is expected."""
        status_line = self.line()
        headers = {}
        while line := self.line():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        if "content-length" not in headers:
            raise Failure(f"an answer without a length: {status_line!r}, {headers}")
        body = json.loads(self.file.read(int(headers["content-length"])))
        if not status_line.startswith(f"HTTP/1.1 {expected.status} "):
            raise Failure(f"{status_line!r} instead of status {expected.status}")
        if expected.report is None:
            good = set(body) == {"error"} and headers.get("connection") == "close"
        else:
            good = body == expected.report
        if not good:
            raise Failure(f"the answer {body}, {headers} instead of {expected}")

    def line(self) -> str:
        line = self.file.readline().decode("latin-1")
        if not line.endswith("\r\n"):
            raise Failure(f"the server broke a connection off after {line!r}")
        return line[:-2]


def talk(port: int, exchanges: Sequence[Exchange]) -> Counter[str]:
    """Make these exchanges one after the other; returns how many answers of each kind came."""
    checked: Counter[str] = Counter()
    client = Client(port)
    try:
        for exchange in exchanges:
            is_usable = client.exchange(exchange)
            checked[exchange.kind] += len(exchange.answers)
            if not is_usable:
                client.close()
                client = Client(port)
    except ConnectionError as lost:
        raise Failure(f"the server broke a connection off: {lost}") from lost
    finally:
        client.close()
    return checked


def talk_from_all_connections(server: Server, exchanges: Sequence[Exchange]) -> Counter[str]:
    """Make these exchanges from several connections at the same time."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        shares = [exchanges[number::CONNECTIONS] for number in range(CONNECTIONS)]
        talks = [threads.submit(talk, server.port, share) for share in shares]
        try:
            done, _ = wait(talks, return_when=FIRST_EXCEPTION)
            return sum((finished.result() for finished in done), Counter())
        finally:
            if any(not finished.done() or finished.exception() for finished in talks):
                server.kill()  # the other connections should not wait for what will not come


def talk_with_curl(curl: str, port: int) -> int:
    """Make some requests with curl; returns how many."""
    url = f"http://127.0.0.1:{port}"
    body = random.Random(SEED).randbytes(2_000_000)
    # A body of that size makes curl ask for "100 Continue" before it sends it.
    asked = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"]
    requests = (
        (["/a?b=c"], b"", report("GET", "/a?b=c", b"")),
        (["--data-binary", "", "/empty"], b"", report("POST", "/empty", b"")),
        (["--data-binary", "@-", "/small"], body[:999], report("POST", "/small", body[:999])),
        ([*asked, "--data-binary", "@-", "/big"], body, report("POST", "/big", body)),
        (["-X", "PUT", "/"], b"", {"error": "Method Not Allowed"}),
    )
    for (*options, path), sent, expected in requests:
        command = [curl, "-sS", "--max-time", str(TIMEOUT), *options, url + path]
        done = subprocess.run(command, input=sent, capture_output=True, check=False)
        if done.returncode != 0 or json.loads(done.stdout) != expected:
            raise Failure(f"curl {path}: {done.stdout!r} {done.stderr!r}")
    return len(requests)


# The server.


@dataclass(frozen=True)
class Engine:
    """Something that can run the program; ``implementation`` is fastchat's, if it is fastchat."""

    name: str
    command: tuple[str, ...]
    implementation: str = ""

    def environment(self) -> dict[str, str]:
        return os.environ | {"FASTCHAT_IMPLEMENTATION": self.implementation or "auto"}

    def introduce(self) -> str:
        """Which version it says it is; raises Failure if it is not there, or something else."""
        if not self.implementation:
            return platform.python_version()
        ask = "import fastchat; print(fastchat.implementation, fastchat.__version__)"
        command = [sys.executable, "-c", ask]
        answer = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, check=False
        )
        implementation, _, version = answer.stdout.strip().partition(" ")
        if answer.returncode != 0 or implementation != self.implementation:
            said = f"{answer.stdout}{answer.stderr}".strip().rpartition("\n")[2]
            raise Failure(f"{self.name}, is not installed: {said}")
        return version


ON_FASTCHAT = (sys.executable, "-m", "fastchat", "run")
HELD = Engine("fastchat, run --coalesce", (*ON_FASTCHAT, "--coalesce"), "cython")
COMPILED = Engine("fastchat, compiled", ON_FASTCHAT, "cython")
TWIN = Engine("fastchat, pure Python", ON_FASTCHAT, "python")
STDLIB = Engine("standard library", (sys.executable, "-W", "ignore::DeprecationWarning"))


class Server:
    """The program on an engine, in a child process."""

    def __init__(self, engine: Engine, program: Path, errors: IO[bytes]) -> None:
        self.errors = errors
        self.process = subprocess.Popen(
            [*engine.command, str(program)],
            env=engine.environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def await_listening(self) -> None:
        assert self.process.stdout is not None
        watchdog = threading.Timer(TIMEOUT, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline().decode()
        finally:
            watchdog.cancel()
        if not line.startswith("listening on "):
            raise Failure(f"the program says {line!r} instead of where it listens")
        self.port = int(line.rpartition(":")[2])

    def stop(self) -> float:
        """End it well; returns the seconds of CPU it used."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.process.terminate()
        printed, _ = self.process.communicate(timeout=TIMEOUT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if self.process.returncode != 0 or printed or self.complaints():
            raise Failure(f"the server ended with status {self.process.returncode}, {printed!r}")
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def complaints(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")


@contextmanager
def running(engine: Engine, program: Path) -> Iterator[Server]:
    """A server that listens; a failure while it does is told with what it had to say."""
    server = None
    with tempfile.TemporaryFile() as errors:
        try:
            with interrupts_held_back():
                server = Server(engine, program, errors)
            server.await_listening()
            yield server
        except (Failure, OSError, ValueError, subprocess.SubprocessError) as failure:
            what = f"on {engine.name}: {type(failure).__name__}: {failure}"
            said = (server and server.complaints()) or "nothing"
            raise Failure(f"{what}\nWhat the server wrote to stderr:\n{said}") from failure
        finally:
            if server is not None:
                server.kill()


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Interrupt once: a second signal would only break into the cleaning up."""
    for each in INTERRUPTS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Starting a process takes a moment in which an interrupt would leave it behind, unknown."""
    held: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: held.append(number))
        for number in INTERRUPTS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        interrupt(held[0], None)


# The demonstration.


def send_rounds(port: int, in_flight: int, requests: int) -> int:
    """Send so many requests, or a few more, that many at a time on each connection.

    Returns how many.
    """
    both = [get(f"/{number}") for number in range(in_flight)]
    sent = b"".join(request for request, _ in both)
    rounds = -(-requests // (CONNECTIONS * in_flight))
    with ExitStack() as ending:
        clients = [Client(port) for _ in range(CONNECTIONS)]
        for client in clients:
            ending.callback(client.close)
        for _ in range(rounds):
            for client in clients:
                client.socket.sendall(sent)
            for client in clients:
                for _, answer in both:
                    client.check(answer)
    return rounds * CONNECTIONS * in_flight


def demonstrate(engine: Engine, program: Path, exchanges: list[Exchange]) -> Counter[str]:
    """Run the program on an engine, and all the requests against it; returns what was checked."""
    with running(engine, program) as server:
        checked = talk_from_all_connections(server, exchanges)
        if curl := shutil.which("curl"):
            checked[CURL] = talk_with_curl(curl, server.port)
        server.stop()
    return checked


def cost(engine: Engine, program: Path, in_flight: int, requests: int) -> float:
    """The seconds of CPU that the program takes for a request, without its start."""
    starts, totals = [], []
    for _ in range(RUNS):
        with running(engine, program) as server:
            starts.append(server.stop())
        with running(engine, program) as server:
            count = send_rounds(server.port, in_flight, requests)
            totals.append(server.stop())
    return max(min(totals) - min(starts), 1e-9) / count


def available(allow_pure: bool) -> dict[Engine, str]:
    """The engines to show, and their versions."""
    engines = {}
    try:
        version = COMPILED.introduce()
        engines = {HELD: version, COMPILED: version}
    except Failure as failure:
        if not allow_pure:
            hint = "Install it, or say --allow-pure to do without it."
            raise Failure(f"{failure}\n{hint}") from failure
        if "no compiled modules are installed" not in str(failure):
            raise
        print("This build has no compiled modules: fastchat runs as Python.")
    engines[TWIN] = TWIN.introduce()
    if sys.version_info < (3, 12):
        engines[STDLIB] = STDLIB.introduce()
    return engines


def show_checked(checked: Counter[str]) -> None:
    """Print what was checked."""
    print("\nAnswers checked, on each:")
    for kind in KINDS:
        if kind in checked:
            print(f"{checked[kind]:>8,}  {kind}")
    if CURL not in checked:
        print("          (curl is not installed)")


def show_costs(engines: Sequence[Engine], program: Path, requests: int) -> None:
    """Measure what a request costs each engine, and print it."""
    print("\nMicroseconds of the server's CPU for a request:\n")
    print(f"{'':24}{f'{IN_FLIGHT} in flight':>20}{'one at a time':>20}")
    base = engines[-1]
    loads = (IN_FLIGHT, 1)
    costs = {
        engine: [cost(engine, program, in_flight, requests) for in_flight in loads]
        for engine in engines
    }
    for engine, row in costs.items():
        cells = (
            f"{each * 1e6:12.1f}  ({each / of_base:.2f})"
            for each, of_base in zip(row, costs[base], strict=True)
        )
        print(f"{engine.name:24}" + "".join(cells))
    print(
        f"\nIn parentheses: over that on {base.name}. The least of {RUNS} short runs, without the"
        "\nserver's start. Much of it is the program's own work and the kernel's:"
        "\n`make bench-quick` measures fastchat alone."
    )
    if HELD in costs:
        print(
            "--coalesce sends the answers to pipelined requests together, which not every program"
            '\nbears: docs/compat.md, "Held output".'
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="run a legacy program on fastchat, and check it")
    parser.add_argument("--requests", type=int, default=6000, help="at least 20; default 6000")
    parser.add_argument("--program", type=Path, default=PROGRAM, help="another HTTP server")
    parser.add_argument(
        "--allow-pure",
        action="store_true",
        default=os.environ.get("FASTCHAT_BUILD_EXTENSION") == "no",
        help="do without the compiled implementation; also if FASTCHAT_BUILD_EXTENSION is no",
    )
    arguments = parser.parse_args()
    if arguments.requests < 20:
        parser.error("--requests must be 20 or more")
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    try:
        engines = available(arguments.allow_pure)
        print(f"Running {arguments.program.name}, an asynchat program, as it is:")
        exchanges = plan(arguments.requests)
        for engine, version in engines.items():
            print(f"  on {engine.name} {version} ... ", end="", flush=True)
            checked = demonstrate(engine, arguments.program, exchanges)
            print(f"{checked.total():,} answers, all as they should be", flush=True)
        show_checked(checked)
        show_costs(list(engines), arguments.program, arguments.requests // 2)
    except Failure as failure:
        print(f"\nTHE DEMONSTRATION FAILED\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
