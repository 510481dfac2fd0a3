"""Takes every engine through every workload, in turn, several times.

Rules this file keeps:

* In a round every engine is measured once at every workload, one right after the other, and each
  time in a fresh process; the next round begins with another engine.
* Only one server and one load run at a time, and this process sleeps meanwhile.
* A wrong reply, or a closed connection, ends the run: there is nothing to measure in a server that
  does not do the work.  An engine that is too slow for a workload is left out of it, with the
  reason.
* A measurement during which the server waited for its CPU is taken again, and after ``TRIES`` such
  the round has none of that engine: what others did to a server is not published as what it costs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import compiled
from bench.results import Comparison, Sample, Serve
from bench.serve import redis
from bench.serve.engines import ENGINES, Engine
from bench.serve.process import (
    Failure,
    Server,
    Unfinished,
    Waited,
    allow_descriptors,
    choose_cpus,
    run,
)
from bench.serve.workloads import WORKLOADS, Workload

HERE = Path(__file__).resolve().parent

# The exit status of load.c that is no failure.
_TOO_SLOW = 5

# Descriptors that a server or the load needs besides its connections.
_OTHER_DESCRIPTORS = 100


# How often a measurement is taken before it is given up.
TRIES = 3


@dataclass(frozen=True)
class Plan:
    """What is to be measured, how often, and for how long each time, in seconds."""

    engines: list[str]
    workloads: list[str]
    rounds: int
    seconds: float
    # Before the seconds that count.
    warm_up: float = 0.1
    # The most that opening all idle connections, and a single reply, may take.
    limit: int = 20
    patience: int = 10


@dataclass(frozen=True)
class Helpers:
    """The C programs."""

    load: Path
    limit: Path

    @classmethod
    def build(cls) -> Helpers:
        """Compile them, unless that has been done.  Raises NoCompiler."""
        return cls(compiled.build(HERE / "load.c"), compiled.build(HERE / "limit.c"))


def start(engine: Engine, service: str, cpu: int, helpers: Helpers) -> Server:
    """The process in which *engine* serves *service*."""
    if service == "redis":
        return redis.start(engine, cpu)
    if not engine.module:
        return Server([helpers.limit, service], cpu)
    words = ["-W", "ignore::DeprecationWarning", "-m", "bench.serve.server", engine.name, service]
    return Server([engine.python, *words], cpu, engine.environment)


def apply_load(
    server: Server, workload: Workload, plan: Plan, cpu: int, helpers: Helpers
) -> Sample:
    """Let *server* do the work of *workload*, and say what it cost.

    Raises Failure where a reply is wrong or missing, Unfinished where it takes too long.
    """
    words = {
        "service": workload.load,
        "port": server.port,
        "pid": server.pid,
        "connections": workload.connections,
        "depth": workload.depth,
        "size": workload.size,
        "idle": workload.idle,
        "seconds": plan.seconds,
        "warm_up": plan.warm_up,
        "limit": plan.limit,
        "patience": plan.patience,
    }
    command = [str(helpers.load), *(f"{name}={value}" for name, value in words.items())]
    status, output, errors = run(command, cpu, plan.limit + plan.seconds + 70)
    if status == _TOO_SLOW:
        raise Unfinished(errors.strip().removeprefix("load: "))
    if status:
        raise Failure(errors.strip() or f"the load ended with status {status}")
    counted = json.loads(output)
    units = workload.units(counted["lines"])
    microseconds = {
        name: counted[name] * 1e6 if name in counted else None for name in ("p50", "p99")
    }
    return Sample(
        cpu=counted["server_cpu"] / units * 1e6,
        rate=units / counted["seconds"],
        server_share=counted["server_cpu"] / counted["seconds"],
        load_share=counted["load_cpu"] / counted["seconds"],
        waiting_share=counted["waiting"] / counted["seconds"],
        memory=counted["idle_memory"] / workload.idle / 1024 if workload.idle else None,
        **microseconds,
    )


def measure(
    engine: Engine, workload: Workload, plan: Plan, cpus: tuple[int, int], helpers: Helpers
) -> Sample:
    """One sample, of a fresh process.  Raises Failure and Unfinished."""
    try:
        with start(engine, workload.service, cpus[0], helpers) as server:
            if workload.load == "redis-benchmark":
                return redis.measure(server, workload, plan.seconds, cpus[1])
            return apply_load(server, workload, plan, cpus[1], helpers)
    except Failure as failure:
        raise Failure(f"{engine.label}, {workload.name}: {failure}") from failure


def undisturbed(attempt: Callable[[], Iterable[Sample]]) -> list[Sample]:
    """What *attempt* measures together, all of it without having waited for a CPU.

    Raises Waited where that does not come about in ``TRIES``, and what *attempt* raises.
    """
    least = float("inf")
    for _ in range(TRIES):
        samples = list(attempt())
        if not any(sample.has_waited for sample in samples):
            return samples
        least = min(least, max(sample.waiting_share or 0 for sample in samples))
    raise Waited(least)


def absent(engines: Iterable[str]) -> dict[str, str]:
    """Those of *engines* that cannot run here, and why."""
    reasons = ((name, ENGINES[name].absence()) for name in engines)
    return {name: reason for name, reason in reasons if reason}


def obstacle(engine: Engine, workload: Workload, descriptors: int) -> str | None:
    """Why *engine* cannot do *workload* here; an empty reason where it was never meant to."""
    needed = workload.connections + workload.idle + _OTHER_DESCRIPTORS
    if needed > descriptors:
        return f"needs {needed:,} descriptors, and the limit is {descriptors:,}"
    if workload.service == "redis":
        return redis.absence() if engine.module == "async_chat" else ""
    return None if workload.service in engine.services else ""


def schedule(plan: Plan, engines: list[str]) -> Iterator[tuple[int, str, str]]:
    """The round, the workload and the engine of every sample, in the order of measuring."""
    for number in range(1, plan.rounds + 1):
        shift = number % len(engines) if engines else 0
        for workload in plan.workloads:
            for engine in engines[shift:] + engines[:shift]:
                yield number, workload, engine


class Run:
    """A run of *plan*: ``take`` each of ``steps``, in their order, and ``results`` is filled."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.helpers = Helpers.build()
        self.cpus = choose_cpus()
        self.results = Serve(plan.seconds, list(self.cpus), absent(plan.engines))
        self.engines = [name for name in plan.engines if name not in self.results.absent]
        self.descriptors = allow_descriptors()
        for name in plan.workloads:
            self.results.workloads[name] = comparison = Comparison(WORKLOADS[name].unit)
            for engine in self.engines:
                reason = obstacle(ENGINES[engine], WORKLOADS[name], self.descriptors)
                if reason is None:
                    comparison.samples[engine] = []
                elif reason:
                    comparison.unfinished[engine] = reason

    def steps(self) -> list[tuple[int, str, str]]:
        """What there is to measure: the round, the workload and the engine of each sample."""
        return [
            (number, workload, engine)
            for number, workload, engine in schedule(self.plan, self.engines)
            if engine in self.results.workloads[workload].samples
        ]

    def take(self, workload: str, engine: str) -> None:
        """Measure once, for the round that is due.  Raises Failure."""
        comparison = self.results.workloads[workload]
        sample = None
        if engine not in comparison.unfinished:
            try:
                (sample,) = undisturbed(lambda: [self._measure(workload, engine)])
            except Unfinished as reason:
                comparison.unfinished[engine] = str(reason)
            except Waited as waited:
                comparison.waited.setdefault(engine, []).append(waited.share)
        comparison.samples[engine].append(sample)

    def _measure(self, workload: str, engine: str) -> Sample:
        return measure(ENGINES[engine], WORKLOADS[workload], self.plan, self.cpus, self.helpers)
