"""What a run found out: samples, how they are summed up, and the JSON file that keeps them.

Rules this file keeps:

* Everything measured is kept, round by round; medians, spreads and ratios are always computed from
  that, here and nowhere else.
* A ratio of two engines is the median of the ratios of single rounds, in which one was measured
  right after the other: what the machine did meanwhile, it did to both.
* What was measured while the server waited for its CPU is not among the samples: that round has
  none, and ``Comparison.waited`` says so.
* A file has the same rows as the tables on the terminal; a reader of another format refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine

FORMAT = 1

# A server that waited longer for its CPU, as a share of the time, was not alone on it.
QUIET = 0.05


@dataclass(frozen=True)
class Sample:
    """One engine at one workload in one round.

    The server's CPU time per unit in microseconds; units per second; the shares of a CPU that the
    server and the load used, and the share of the time in which the server waited for its CPU; how
    long a turn took, in microseconds; KiB for an idle connection.
    """

    cpu: float
    rate: float
    server_share: float
    load_share: float | None = None
    waiting_share: float | None = None
    p50: float | None = None
    p99: float | None = None
    memory: float | None = None

    @property
    def has_waited(self) -> bool:
        """Whether something else had the server's CPU, for more than ``QUIET`` of the time; not
        where nobody knows."""
        return (self.waiting_share or 0) > QUIET


@dataclass(frozen=True)
class Figure:
    """The median of several values, the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Figure | None:
        """The figure of *values*, or None where there are none."""
        known = [value for value in values if value is not None]
        return cls(median(known), min(known), max(known)) if known else None


@dataclass
class Comparison:
    """One workload: what each engine did in each round, and who could not do it.

    *waited* has, for each round of an engine that is left out because its server waited for its
    CPU whenever it was tried, the least share of the time that it did.
    """

    unit: str
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)
    waited: dict[str, list[float]] = field(default_factory=dict)

    def figure(self, engine: str, what: str) -> Figure | None:
        """The attribute *what* of the samples of *engine*, over all rounds."""
        taken = [sample for sample in self.samples.get(engine, []) if sample]
        return Figure.of(getattr(sample, what) for sample in taken)

    def ratio(self, engine: str, baseline: str, what: str = "cpu") -> Figure | None:
        """How *engine* compares with *baseline*, round by round; None where one is missing."""
        return paired(self.samples.get(engine, []), self.samples.get(baseline, []), what)


def paired(
    samples: list[Sample | None], baseline: list[Sample | None], what: str = "cpu"
) -> Figure | None:
    """The ratios of two series of samples of the same rounds."""
    pairs = zip(samples, baseline, strict=False)
    return Figure.of(
        getattr(one, what) / getattr(other, what)
        for one, other in pairs
        if one and other and getattr(one, what) is not None and getattr(other, what)
    )


@dataclass
class Serve:
    """What ``bench serve`` found out."""

    seconds: float
    cpus: list[int]
    absent: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, Comparison] = field(default_factory=dict)


@dataclass
class Case:
    """One row of ``bench scan``: what was cut, and the seconds that it took, in each round."""

    kind: str  # "search" or "cut"
    label: str
    line: int  # bytes from one terminator to the next; 0 where it is not about lines
    terminator: str
    size: int  # of a receive
    matches: int
    bytes: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def figure(self, contender: str) -> Figure | None:
        """Seconds for all of the bytes."""
        return Figure.of(self.seconds.get(contender, []))

    def ratio(self, contender: str, baseline: str) -> Figure | None:
        """How many times the time of *baseline* that *contender* takes, round by round."""
        pairs = zip(self.seconds.get(contender, []), self.seconds.get(baseline, []), strict=False)
        return Figure.of(one / other for one, other in pairs)


@dataclass
class Scan:
    """What ``bench scan`` found out."""

    cases: list[Case] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass
class Results:
    """A whole run, and where it was made."""

    made: str
    command: str
    python: str
    machine: dict[str, str]
    versions: dict[str, str]
    serve: Serve | None = None
    scan: Scan | None = None

    @classmethod
    def here(cls, command: str) -> Results:
        """Results still to be filled by *command*, of this machine and this moment."""
        return cls(
            machine.now(),
            command,
            machine.python(),
            machine.describe(),
            machine.versions(),
        )

    def line(self) -> str:
        """The interpreter without the number of its bug fixes, so that "CPython 3.13.0" and
        "CPython 3.13.1" are of one line."""
        return re.sub(r"(\d+\.\d+)\S*", r"\1", self.python, count=1)

    def name(self) -> str:
        """What the file is called, without its suffix: date, CPU and Python."""
        return "-".join([self.made[:10], *map(machine.slug, [self.machine["cpu"], self.python])])

    def write(self, directory: Path) -> Path:
        """Write the JSON file into *directory*; returns its path."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name()}.json"
        content = {"format": FORMAT} | {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.name not in ("serve", "scan")
        }
        if self.scan:
            content["scan"] = asdict(self.scan)
        if self.serve:
            content["serve"] = asdict(self.serve) | {
                "workloads": {
                    name: asdict(comparison) | {"samples": _columns(comparison.samples)}
                    for name, comparison in self.serve.workloads.items()
                }
            }
        path.write_text(_pretty(_rounded(content)) + "\n", encoding="ascii")
        return path

    @classmethod
    def read(cls, path: Path) -> Results:
        """What ``write`` wrote.  Raises ValueError where it is of another format."""
        content = json.loads(path.read_text(encoding="ascii"))
        if content.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is not of format {FORMAT}; make it again")
        serve, scan = content.pop("serve", None), content.pop("scan", None)
        results = cls(**content)
        if serve:
            workloads = serve.pop("workloads")
            results.serve = Serve(**serve)
            for name, comparison in workloads.items():
                samples = _samples(comparison.pop("samples"))
                results.serve.workloads[name] = Comparison(samples=samples, **comparison)
        if scan:
            results.scan = Scan([Case(**case) for case in scan["cases"]], scan["absent"])
        return results


def newest(directory: Path) -> list[Path]:
    """The files in *directory* to make tables from: for each line of interpreters the one that was
    made last, in the order of their versions.

    Raises ValueError where one is of another format.
    """
    found: dict[str, tuple[str, Path]] = {}
    for path in sorted(directory.glob("*.json")):
        results = Results.read(path)
        line = results.line()
        found[line] = max(found.get(line, ("", path)), (results.made, path))
    return [found[line][1] for line in sorted(found, key=_order)]


def _order(line: str) -> tuple[str, list[int], str]:
    """The key by which lines of interpreters are sorted: 3.9 comes before 3.11."""
    implementation, _, rest = line.partition(" ")
    version, _, kind = rest.partition(" ")
    return implementation, [int(number) for number in re.findall(r"\d+", version)], kind


# A file has a list of numbers for each attribute rather than an object for each sample: a tenth of
# the size, and it can be read by people.

_ATTRIBUTES = [entry.name for entry in fields(Sample)]


def _columns(samples: dict[str, list[Sample | None]]) -> dict[str, dict[str, list[Any]]]:
    return {
        engine: {
            name: column
            for index, name in enumerate(_ATTRIBUTES)
            # The first says how many rounds there were, even where none has a sample.
            if set(column := [getattr(each, name, None) for each in taken]) - {None} or not index
        }
        for engine, taken in samples.items()
    }


def _samples(columns: dict[str, dict[str, list[Any]]]) -> dict[str, list[Sample | None]]:
    return {
        engine: [
            None if cpu is None else Sample(**{name: named[name][i] for name in named})
            for i, cpu in enumerate(named.get("cpu", []))
        ]
        for engine, named in columns.items()
    }


def _rounded(value: Any) -> Any:
    """*value* with all numbers in it cut to six digits, which is more than is known."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with one line for each list of numbers."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        rows = (f"{json.dumps(key)}: {_pretty(each, inner)}" for key, each in value.items())
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        rows = (_pretty(each, inner) for each in value)
        return "[\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}]"
    return json.dumps(value)
