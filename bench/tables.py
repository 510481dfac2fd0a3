"""What results say, as tables and sentences; ``terminal.py`` and ``report.py`` write them out.

Rules this file keeps:

* Ratios are CPU time over CPU time: below 1 the first takes less.
* What a comparison lacks, and why, stands under its table; nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.results import QUIET, Case, Comparison, Figure, Results, Scan, Serve
from bench.scan import contenders
from bench.serve.engines import ENGINES
from bench.serve.workloads import WORKLOADS, plural

OURS = "fastchat"

# Who cannot be behind or ahead: fastchat itself, and what only shows what is possible.
NO_RIVALS = (OURS, "fastchat-unheld", "fastchat-python", "hooks", "c")

# What every engine is compared with: the peer to beat, what it replaces, and what is possible.
BASELINES = {"uvloop-protocol": "uvloop", "stdlib": "stdlib", "c": "C"}

# And where there is no asynchat in the standard library, what takes its place.
LATER_BASELINES = {"uvloop-protocol": "uvloop", "pyasynchat": "pyasynchat", "c": "C"}

# A load that used more of its CPU than this was perhaps what set the pace.
BUSY_LOAD = 0.95


@dataclass
class Table:
    """A title, the names of the columns, rows of as many cells, and remarks below."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def number(value: float | None) -> str:
    """*value* to three digits."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    decimals = next((i for i in range(3) if abs(value) >= 10 ** (2 - i)), 3)
    return f"{value:.{decimals}f}"


def median(figure: Figure | None) -> str:
    return number(figure.median) if figure else ""


def spread(figure: Figure | None) -> str:
    return f"{number(figure.low)} - {number(figure.high)}" if figure else ""


def labels(engines: Iterable[str]) -> str:
    return ", ".join(ENGINES[engine].label for engine in engines)


# Serving.


def baselines(comparison: Comparison) -> dict[str, str]:
    """What the engines of *comparison* are compared with, each with its name in columns."""
    is_later = "pyasynchat" in comparison.samples and "stdlib" not in comparison.samples
    return LATER_BASELINES if is_later else BASELINES


def workload_table(name: str, comparison: Comparison) -> Table:
    """One workload in full: an engine a row."""
    unit = comparison.unit
    beside = baselines(comparison)
    table = Table(
        f"{name}: {WORKLOADS[name].label}",
        ["engine", f"CPU µs per {unit}", "least - most"]
        + [f"/ {label}" for label in beside.values()]
        + [f"{plural(unit)}/s", "p50 µs", "p99 µs", "server", "load", "KiB per idle"],
    )
    for engine, samples in comparison.samples.items():
        if not any(samples):
            continue
        cpu = comparison.figure(engine, "cpu")
        row = [ENGINES[engine].label, median(cpu), spread(cpu)]
        row += [median(comparison.ratio(engine, baseline)) for baseline in beside]
        row += [median(comparison.figure(engine, what)) for what in ("rate", "p50", "p99")]
        for what in ("server_share", "load_share"):
            share = comparison.figure(engine, what)
            row.append(f"{share.median:.0%}" if share else "")
        row.append(median(comparison.figure(engine, "memory")))
        table.rows.append(row)
    if not any(row[-1] for row in table.rows):
        table.columns.pop()
        table.rows = [row[:-1] for row in table.rows]
    for engine, reason in comparison.unfinished.items():
        table.remarks.append(f"{ENGINES[engine].label}: {reason}.")
    table.remarks += left_out(comparison)
    busy = [
        engine
        for engine in comparison.samples
        if (share := comparison.figure(engine, "load_share")) and share.median > BUSY_LOAD
    ]
    if noise := disturbance([comparison]):
        table.remarks.append(noise)
    if busy:
        table.remarks.append(f"The load was at its limit, not the server: {labels(busy)}.")
    return table


# The last column of tables about all workloads.
JOINED = "replies joined"


def joined(engine: str) -> str:
    """Whether replies of *engine* to requests that arrived together leave in one send."""
    return {True: "yes", False: "no", None: "not known"}[ENGINES[engine].joins]


def overview(serve: Serve) -> Table:
    """CPU time by engine and workload."""
    names = list(serve.workloads)
    table = Table(
        "Server CPU time in µs per line (per MB, connection or request where it says so)",
        ["engine", *map(_heading, names, serve.workloads.values()), JOINED],
    )
    for engine in ENGINES:
        cells = [median(each.figure(engine, "cpu")) for each in serve.workloads.values()]
        if any(cells):
            table.rows.append([ENGINES[engine].label, *cells, joined(engine)])
    table.remarks += absences(serve.absent)
    if noise := disturbance(serve.workloads.values()):
        table.remarks.append(noise)
    for name, comparison in serve.workloads.items():
        for engine, reason in comparison.unfinished.items():
            table.remarks.append(f"{ENGINES[engine].label}, {name}: {reason}.")
        table.remarks += left_out(comparison, name)
    return table


def _heading(name: str, comparison: Comparison) -> str:
    return name if comparison.unit == "line" else f"{name}, per {comparison.unit}"


def ratios(serve: Serve) -> Table:
    """fastchat's CPU time over everybody else's, by engine and workload."""
    table = Table(
        "CPU time of fastchat, compiled, over that of others: median (least - most) of the rounds",
        ["over", *serve.workloads, JOINED],
    )
    for engine in ENGINES:
        cells = []
        for comparison in serve.workloads.values():
            ratio = comparison.ratio(OURS, engine) if engine != OURS else None
            cells.append(f"{median(ratio)} ({spread(ratio)})" if ratio else "")
        if any(cells):
            table.rows.append([ENGINES[engine].label, *cells, joined(engine)])
    return table


def interpreters(several: Iterable[Results]) -> Table:
    """fastchat on each of several interpreters, beside what it is compared with on that one."""
    runs = [results for results in several if results.serve]
    names = list(
        dict.fromkeys(name for each in runs if each.serve for name in each.serve.workloads)
    )
    table = Table(
        "CPU time of fastchat, compiled, over that of others on the same interpreter: medians of "
        "the rounds",
        ["interpreter", "over", *names],
    )
    for results in runs:
        assert results.serve
        workloads = results.serve.workloads
        beside = {engine for comparison in workloads.values() for engine in baselines(comparison)}
        for engine in (name for name in ENGINES if name in beside):
            ratios = [
                comparison.ratio(OURS, engine) if (comparison := workloads.get(name)) else None
                for name in names
            ]
            if any(ratios):
                row = [results.python, ENGINES[engine].label, *map(median, ratios)]
                table.rows.append(row)
    return table


def other_figures(serve: Serve, what: str, title: str) -> Table:
    """Another attribute of the samples, by engine and workload."""
    found = {
        name: {engine: comparison.figure(engine, what) for engine in ENGINES}
        for name, comparison in serve.workloads.items()
    }
    names = [name for name, figures in found.items() if any(figures.values())]
    table = Table(title, ["engine", *names])
    for engine in ENGINES:
        cells = [median(found[name][engine]) for name in names]
        if any(cells):
            table.rows.append([ENGINES[engine].label, *cells])
    return table


def absences(absent: dict[str, str]) -> list[str]:
    """Sentences that name who is missing."""
    return [
        f"Left out: {ENGINES[name].label if name in ENGINES else name} ({reason})."
        for name, reason in absent.items()
    ]


def losses(serve: Serve) -> list[str]:
    """Sentences that say in what fastchat is behind another Python server, and by how much."""
    said = []
    for name, comparison in serve.workloads.items():
        if OURS in comparison.unfinished:
            said.append(f"{name}: fastchat did not do it: {comparison.unfinished[OURS]}.")
        for what, noun in (("cpu", "CPU time"), ("memory", "memory")):
            behind = []
            for engine in comparison.samples:
                ratio = comparison.ratio(OURS, engine, what)
                if engine not in NO_RIVALS and ratio and ratio.median > 1:
                    near = ", within the spread" if ratio.low < 1 else ""
                    behind.append(f"{number(ratio.median)} times {ENGINES[engine].label}'s{near}")
            if behind:
                said.append(f"{name}: fastchat's {noun} is {'; '.join(behind)}.")
    return said


def left_out(comparison: Comparison, name: str = "") -> list[str]:
    """Sentences that say which rounds are not in the figures of *comparison*, the workload *name*,
    because the server waited for its CPU."""
    return [
        left_out_rounds(engine, name, shares, len(comparison.samples[engine]))
        for engine, shares in comparison.waited.items()
    ]


def left_out_rounds(engine: str, workload: str, shares: list[float], rounds: int) -> str:
    """The sentence for one engine: *shares* as in ``Comparison.waited``, of so many *rounds*."""
    what = ", ".join(filter(None, [ENGINES[engine].label, workload]))
    return (
        f"{what}: {len(shares)} of {rounds} rounds are left out: the server waited for its CPU "
        f"whenever they were tried, for at least {min(shares):.0%} of the time."
    )


def all_left_out(serve: Serve) -> list[str]:
    """The same, of all workloads."""
    return [
        sentence
        for name, comparison in serve.workloads.items()
        for sentence in left_out(comparison, name)
    ]


def disturbance(comparisons: Iterable[Comparison]) -> str:
    """A sentence that says how much was not left to the server, where that was much."""
    shares = [
        figure.median
        for comparison in comparisons
        for engine in comparison.samples
        if (figure := comparison.figure(engine, "waiting_share"))
    ]
    if max(shares, default=0) <= QUIET:
        return ""
    return (
        f"Other programs used the server's CPU: it waited for it up to {max(shares):.0%} of the "
        "time. The figures are noisy."
    )


# Scanning.


def scan_headlines(scan: Scan) -> Table:
    """The two figures that matter: the search against memchr, the cutting against asynchat."""
    table = Table("What counts in the scan", ["rate, receives of 64 KiB", "median", "least - most"])
    for case in scan.cases:
        if (case.terminator, case.size) != (r"\r\n", 65536):
            continue
        if case.kind == "search" and case.line >= 1024:
            label = f"find_terminators over memchr, lines of {case.line:,} bytes"
            ratio = case.ratio(contenders.MEMCHR, contenders.COMPILED)
            table.rows += [[label, median(ratio), spread(ratio)]] if ratio else []
        if case.kind == "cut" and case.line == 32:
            for name in (contenders.COMPILED, contenders.PYTHON):
                label = f"handle_read of {name} over the stdlib's, lines of 32 bytes, idle hooks"
                ratio = case.ratio(contenders.STANDARD, name)
                table.rows += [[label, median(ratio), spread(ratio)]] if ratio else []
    return table


def _size(case: Case) -> str:
    return f"{case.size // 1024:,} KiB"


def scan_tables(scan: Scan) -> list[Table]:
    """All cases, one table for each kind, terminator and size of a receive."""
    tables: dict[tuple[str, str, int], Table] = {}
    verbs = {"search": "Finding", "cut": "Cutting at"}
    for case in scan.cases:
        key = (case.kind, case.terminator, case.size)
        if key not in tables:
            present = case.seconds | case.left_out
            names = [name for name in contenders.ORDER if name in present]
            tables[key] = Table(
                f"{verbs[case.kind]} {case.terminator}, {_size(case)} at once: "
                "ns per terminator (GB/s)",
                ["input", "terminators", *names],
            )
        cells = []
        for name in tables[key].columns[2:]:
            figure = case.figure(name)
            if figure is None:
                cells.append("")
                continue
            each = f"{number(figure.median / case.matches * 1e9)} " if case.matches else ""
            cells.append(f"{each}({number(case.bytes / figure.median / 1e9)})")
        tables[key].rows.append([case.label, f"{case.matches:,}", *cells])
        for name, reason in case.left_out.items():
            tables[key].remarks.append(f"{name}, {case.label}: {reason}.")
    return list(tables.values())


# Where it was.


def provenance(results: Results) -> list[str]:
    """Sentences: when, how, where and with what."""
    said = [
        f"Made {results.made} by `{results.command}`.",
        "Machine: " + ", ".join(f"{name} {value}" for name, value in results.machine.items()) + ".",
        f"Versions: {results.python}, "
        + ", ".join(f"{name} {value}" for name, value in results.versions.items())
        + ".",
    ]
    if results.serve:
        server, load = results.serve.cpus
        where = f"the server on CPU {server}, the load on CPU {load}"
        if server == load:
            where = "the server and the load on the only CPU"
        rounds = max(
            (len(s) for c in results.serve.workloads.values() for s in c.samples.values()),
            default=0,
        )
        said.append(
            f"Rounds: {rounds}, of {number(results.serve.seconds)} s for each engine and "
            f"workload, {where}."
        )
    return said
