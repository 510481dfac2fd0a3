"""What fastchat is meant to reach, row by row, and whether it does: ``bench serve --targets``.

The bounds are ratios of the server's CPU time per line: of asynchat on fastchat over uvloop, over
the standard library and over the C server, and of fastchat in Python over the standard library, all
on CPython 3.11; and of a LineChannel over uvloop and C, of which some have another bound from 3.15
on.  A row that could not be measured is not met.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Figure, Serve, paired
from bench.serve.engines import ENGINES
from bench.tables import OURS, Table, median, number, spread

PURE = "fastchat-python"

# workload -> compiled over uvloop, compiled over stdlib, compiled over C, Python over stdlib
_RATIOS: dict[str, tuple[float | None, ...]] = {
    "ping-pong": (0.97, 0.72, 1.32, 0.9),
    "pipelined-16": (0.29, 0.18, None, 0.40),
    "pipelined-256": (0.20, 0.11, None, 0.30),
    "long-lines": (0.25, 0.25, 1.8, 0.8),
    "ingest": (0.90, 0.20, None, 0.5),
    "idle-10000": (0.90, None, 1.3, None),
    "bodies": (None, None, 1.5, None),
    "downloads": (None, None, 1.5, None),
}
_PAIRS = ((OURS, "uvloop-protocol"), (OURS, "stdlib"), (OURS, "c"), (PURE, "stdlib"))

# workload -> a LineChannel, a call per read, over uvloop with the lines joined by hand, and over C;
# a call per line over uvloop as its documentation teaches.
_IS_LATE = sys.version_info >= (3, 15)
_LINE_CHANNELS: dict[str, tuple[float | None, ...]] = {
    "ping-pong": (0.95 if _IS_LATE else 0.92, 1.3, 0.92),
    "pipelined-16": (0.85, 1.6, 0.20),
    "pipelined-256": (0.90 if _IS_LATE else 0.80, 3, 0.12),
    "long-lines": (0.70 if _IS_LATE else 0.50, 1.8, 0.35),
    "ingest": (0.85 if _IS_LATE else 0.60, 1.5, 1.0),
    "idle-10000": (0.95, 1.3, 0.95),
}
_LINE_PAIRS = (
    ("linechannel", "uvloop-joined"),
    ("linechannel", "c"),
    ("linechannel-by-line", "uvloop-protocol"),
)

# What has to be measured for all rows.
ENGINES_NEEDED = list(dict.fromkeys(engine for pair in (*_PAIRS, *_LINE_PAIRS) for engine in pair))
WORKLOADS_NEEDED = list(_RATIOS)


@dataclass(frozen=True)
class Target:
    """One row: *measure* gives what is to be at most *bound*, or None where it is not known."""

    workload: str
    what: str
    bound: float
    measure: Callable[[Serve], Figure | None]

    def is_met(self, serve: Serve) -> bool:
        figure = self.measure(serve)
        return figure is not None and figure.median <= self.bound


def _ratio(workload: str, engine: str, baseline: str, bound: float) -> Target:
    if (workload, baseline) == ("ingest", "uvloop-joined"):
        baseline = "uvloop-protocol"  # where nothing is answered, there is nothing to join

    def measure(serve: Serve) -> Figure | None:
        comparison = serve.workloads.get(workload)
        return comparison.ratio(engine, baseline) if comparison else None

    what = f"CPU time of {ENGINES[engine].label} over {ENGINES[baseline].label}"
    return Target(workload, what, bound, measure)


def _beside_idle(serve: Serve) -> Figure | None:
    comparisons = (serve.workloads.get(name) for name in ("idle-10000", "ping-pong"))
    with_idle, alone = (each.samples.get(OURS, []) if each else [] for each in comparisons)
    return paired(with_idle, alone)


def _idle_memory(serve: Serve) -> Figure | None:
    comparison = serve.workloads.get("idle-10000")
    return comparison.figure(OURS, "memory") if comparison else None


TARGETS = [
    _ratio(workload, engine, baseline, bound)
    for table, pairs in ((_RATIOS, _PAIRS), (_LINE_CHANNELS, _LINE_PAIRS))
    for workload, bounds in table.items()
    for (engine, baseline), bound in zip(pairs, bounds, strict=True)
    if bound is not None
] + [
    Target("idle-10000", "CPU time of fastchat, compiled, over its ping-pong", 1.08, _beside_idle),
    Target("idle-10000", "KiB of memory per idle connection", 1.0, _idle_memory),
]


def table(serve: Serve) -> Table:
    """All targets and whether they are met."""
    made = Table("Targets", ["workload", "figure", "at most", "median", "least - most", "met"])
    for target in TARGETS:
        figure = target.measure(serve)
        met = "yes" if target.is_met(serve) else "NO" if figure else "not measured"
        row = [target.workload, target.what, number(target.bound)]
        made.rows.append([*row, median(figure), spread(figure), met])
    count = sum(target.is_met(serve) for target in TARGETS)
    made.remarks.append(f"{count} of {len(TARGETS)} are met.")
    return made


def are_all_met(serve: Serve) -> bool:
    return all(target.is_met(serve) for target in TARGETS)
