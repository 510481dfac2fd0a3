"""This installation of fastchat beside another one: ``python -m bench compare PYTHON``.

PYTHON is the interpreter of an environment that has another version, an earlier commit for example.
Each round measures both, one right after the other, and the next one in the other order; what is
shown is the CPU time per unit here over that there, so that above 1 is slower than it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from bench.results import Sample, paired
from bench.serve import run as serving
from bench.serve.engines import ENGINES, Engine
from bench.serve.process import Waited, allow_descriptors, choose_cpus
from bench.serve.workloads import WORKLOADS
from bench.tables import Table, left_out_rounds, median, spread

# What can be compared.
NAMES = [name for name in ENGINES if name.startswith("fastchat")]


@dataclass
class Pairs:
    """The samples of one engine at one workload, here and there, round by round; none of a round in
    which a server waited for its CPU, and the share of the time that it did in *waited*."""

    engine: str
    workload: str
    here: list[Sample | None] = field(default_factory=list)
    there: list[Sample | None] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)


@dataclass
class Compared:
    """What was measured; *python* is the interpreter there."""

    python: str
    pairs: list[Pairs] = field(default_factory=list)

    def table(self) -> Table:
        """A row for each engine at each workload."""
        made = Table(
            f"CPU time per unit here over that of {self.python}",
            ["workload", "engine", "median", "least - most", "rounds"],
        )
        for pairs in self.pairs:
            figure = paired(pairs.here, pairs.there)
            row = [pairs.workload, ENGINES[pairs.engine].label, median(figure), spread(figure)]
            made.rows.append([*row, str(len(pairs.here) - len(pairs.waited))])
        made.remarks += self.left_out()
        return made

    def left_out(self) -> list[str]:
        """Sentences that say which rounds are not in the figures."""
        return [
            left_out_rounds(pairs.engine, pairs.workload, pairs.waited, len(pairs.here))
            for pairs in self.pairs
            if pairs.waited
        ]


def steps(compared: Compared, plan: serving.Plan) -> Iterator[tuple[str, Callable[[], None]]]:
    """What there is to measure, which fills *compared*; the steps raise Failure.

    A pair in which a server waited for its CPU is measured again, and left out where that does not
    help.
    """
    helpers, cpus = serving.Helpers.build(), choose_cpus()
    descriptors = allow_descriptors()
    compared.pairs += [
        Pairs(engine, workload)
        for workload in plan.workloads
        for engine in plan.engines
        if serving.obstacle(ENGINES[engine], WORKLOADS[workload], descriptors) is None
    ]

    def measure(engine: Engine, workload: str) -> Sample:
        return serving.measure(engine, WORKLOADS[workload], plan, cpus, helpers)

    def take(pairs: Pairs, is_swapped: bool) -> None:
        engine = ENGINES[pairs.engine]
        both = [(pairs.here, engine), (pairs.there, replace(engine, python=compared.python))]
        if is_swapped:
            both.reverse()
        samples: list[Sample | None] = [None, None]
        try:
            samples[:] = serving.undisturbed(
                lambda: [measure(one, pairs.workload) for _, one in both]
            )
        except Waited as waited:
            pairs.waited.append(waited.share)
        for (kept, _), sample in zip(both, samples, strict=True):
            kept.append(sample)

    for number in range(plan.rounds):
        for pairs in compared.pairs:
            label = f"{number + 1}: {pairs.workload}: {ENGINES[pairs.engine].label}"
            yield label, partial(take, pairs, bool(number % 2))
