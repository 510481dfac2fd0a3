"""redis-benchmark against ``examples/redis_server.py``, unmodified, on each asynchat.

It is somebody else's load and somebody else's protocol: lines and counted bytes in turn, commands
that do something, and a program that was not written to be measured.  redis-benchmark ends at an
error reply, but does not compare the others; so the value is read back afterwards.
"""

from __future__ import annotations

import csv
import shutil
import socket
import time

from bench.results import Sample
from bench.serve.engines import Engine
from bench.serve.process import ROOT, Failure, Server, run
from bench.serve.workloads import Workload

PROGRAM = ROOT / "examples" / "redis_server.py"

# Requests of each kind for a second of measuring, about what such a server answers, by depth.
RATES = {1: 15_000, 16: 50_000}

COMMANDS = ("set", "get")


def absence() -> str | None:
    """Why nobody can take part, or None where all that have an asynchat can."""
    if shutil.which("redis-benchmark") is None:
        return "redis-benchmark is not installed"
    return None


def start(engine: Engine, cpu: int) -> Server:
    """The example server on *engine*."""
    through = ["-m", "fastchat", "run"] if "fastchat" in engine.needs else []
    command = [engine.python, "-W", "ignore::DeprecationWarning", *through, str(PROGRAM)]
    return Server(command, cpu, engine.environment)


def measure(server: Server, workload: Workload, seconds: float, cpu: int) -> Sample:
    """What it costs *server* to answer redis-benchmark.  Raises Failure where it does not."""
    _requests(server, workload, 1000, cpu)  # the warm-up
    count = max(1000, int(seconds / 2 * RATES[workload.depth]))
    server_cpu, waiting, began = server.cpu_time(), server.waiting(), time.monotonic()
    rows = _requests(server, workload, count, cpu)
    took = time.monotonic() - began
    server_cpu = server.cpu_time() - server_cpu
    waiting = server.waiting() - waiting
    _read_back(server)
    return Sample(
        cpu=server_cpu / (count * len(COMMANDS)) * 1e6,
        # Of the two kinds of request, of which there are equally many.
        rate=2 / sum(1 / float(row["rps"]) for row in rows),
        server_share=server_cpu / took,
        waiting_share=waiting / took,
        p50=max(float(row["p50_latency_ms"]) for row in rows) * 1000,
        p99=max(float(row["p99_latency_ms"]) for row in rows) * 1000,
    )


def _requests(server: Server, workload: Workload, count: int, cpu: int) -> list[dict[str, str]]:
    """Send *count* requests of each kind; returns redis-benchmark's own rows."""
    options = {
        "-h": "127.0.0.1",
        "-p": server.port,
        "-c": workload.connections,
        "-P": workload.depth,
        "-n": count,
        "-t": ",".join(COMMANDS),
    }
    words = [str(word) for option in options.items() for word in option]
    status, output, errors = run(["redis-benchmark", "--csv", *words], cpu, 60)
    rows = list(csv.DictReader(output.splitlines()))
    if status or "rror" in errors or len(rows) != len(COMMANDS):
        raise Failure(f"redis-benchmark: {errors or output or status}")
    return rows


def _read_back(server: Server) -> None:
    """Raise Failure unless the value that redis-benchmark has set is there, three bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET key:__rand_int__\r\n")
        reply = client.recv(100)
    if not (reply.startswith(b"$3\r\n") and reply.endswith(b"\r\n") and len(reply) == 9):
        raise Failure(f"the value that was set is not there: {reply!r}")
