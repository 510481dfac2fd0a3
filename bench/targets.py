"""What fastchat is meant to reach, row by row, and whether it does: ``bench serve --targets``.

The bounds are ratios of the server's CPU time per line, on CPython 3.11: of fastchat compiled over
uvloop, over the standard library and over the C server, and of fastchat in Python over the
standard library.  A row that could not be measured is not met.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Figure, Serve, paired
from bench.serve.engines import ENGINES
from bench.tables import OURS, Table, median, number, spread

PURE = "fastchat-python"

# workload -> compiled over uvloop, compiled over stdlib, compiled over C, Python over stdlib
_RATIOS: dict[str, tuple[float | None, float | None, float | None, float | None]] = {
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

# What has to be measured for all rows.
ENGINES_NEEDED = [OURS, PURE, "stdlib", "uvloop-protocol", "c"]
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
    for workload, bounds in _RATIOS.items()
    for (engine, baseline), bound in zip(_PAIRS, bounds, strict=True)
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
