"""What the servers are given to do.

Sizes include the line end.  The counts are large enough that the server is always busy, and small
enough that a run stays on one machine without harm: loopback only, and each lasts a fraction of a
second.
"""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Workload:
    """*connections* clients, each with *depth* lines of *size* bytes in flight, and *idle* more.

    *service* is the protocol that the server speaks, *load* what the clients do; figures are per
    *unit*.  *is_quick* says whether it is part of a ``--quick`` run.
    """

    name: str
    label: str
    service: str = "echo"
    load: str = "echo"
    unit: str = "line"
    connections: int = 50
    depth: int = 1
    size: int = 32
    idle: int = 0
    is_quick: bool = True

    def units(self, lines: int) -> float:
        """How many units *lines* lines, or bodies, are."""
        return lines * self.size / MEGABYTE if self.unit == "MB" else lines


def plural(unit: str) -> str:
    return unit if unit == "MB" else f"{unit}s"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("ping-pong", "ping-pong: 50 connections, one 32-byte line in flight"),
        Workload("pipelined-16", "50 connections, 16 lines of 32 bytes in flight", depth=16),
        Workload("pipelined-256", "50 connections, 256 lines of 32 bytes in flight", depth=256),
        Workload("long-lines", "50 connections, 4 lines of 8 KiB in flight", depth=4, size=8192),
        Workload(
            "ingest",
            "50 connections send lines of 100 bytes that are not answered",
            service="ingest",
            load="ingest",
            size=100,
        ),
        Workload(
            "bodies",
            "8 connections send bodies of 1 MiB, by an integer terminator",
            service="bodies",
            load="bodies",
            unit="MB",
            connections=8,
            size=2**20,
        ),
        Workload(
            "downloads",
            "4 connections receive 50 MB each from producers of 64 KiB",
            service="downloads",
            load="downloads",
            unit="MB",
            connections=4,
            size=50 * MEGABYTE,
        ),
        Workload(
            "churn",
            "50 clients at a time connect, send a line, receive it, and close",
            load="churn",
            unit="connection",
        ),
        Workload("idle-1000", "ping-pong beside 1,000 idle connections", idle=1000),
        Workload(
            "idle-10000", "ping-pong beside 10,000 idle connections", idle=10_000, is_quick=False
        ),
        Workload(
            "redis-1",
            "redis-benchmark, SET and GET, 50 clients, one request in flight",
            service="redis",
            load="redis-benchmark",
            unit="request",
            is_quick=False,
        ),
        Workload(
            "redis-16",
            "redis-benchmark, SET and GET, 50 clients, 16 requests in flight",
            service="redis",
            load="redis-benchmark",
            unit="request",
            depth=16,
            is_quick=False,
        ),
    )
}
