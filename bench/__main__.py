"""The command line of the benchmarks: ``python -m bench --help``, from the root of the tree.

Three benchmarks, two of them alone or together; what is measured by them, and why so, is in
docs/performance.md.
Exit status: 0; 1 where a target is missed, where a server waited for its CPU however often it was
tried, so that there is less than was asked for, or where a contender did its work wrong, which ends
the run; 2 for a wrong command line; 130 after Ctrl-C, which prints what there is.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

try:
    import rich  # noqa: F401 (what the tables are drawn by)
except ImportError:
    sys.exit(
        "bench: rich is not installed; `make bench` installs it, or `python -m pip install rich`"
    )

from bench import compare, lines, report, tables, targets, terminal
from bench.compiled import NoCompiler
from bench.results import Results, Scan, newest
from bench.scan import run as scanning
from bench.serve import run as serving
from bench.serve.engines import ENGINES
from bench.serve.process import Failure
from bench.serve.workloads import WORKLOADS
from bench.terminal import Step

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
# For one engine at one workload in one round.
MOST_SECONDS = 60
DOCUMENT = HERE.parent / "docs" / "performance.md"

# The engines of a --quick run: what a program may run on now, what it could be rewritten for, and
# the limit.
QUICK_ENGINES = [
    "fastchat",
    "fastchat-python",
    "stdlib",
    "pyasynchat",
    "asyncio-protocol",
    "uvloop-protocol",
    "uvloop-joined",
    "c",
]


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def seconds(text: str) -> float:
    if not 0 < float(text) <= MOST_SECONDS:
        raise ValueError
    return float(text)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description="Measure fastchat.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = argparse.ArgumentParser(add_help=False)
    run.add_argument("--quick", action="store_true", help="less of everything: under two minutes")
    run.add_argument("--rounds", type=positive, help="how often everything is measured")
    run.add_argument(
        "--save",
        nargs="?",
        type=Path,
        const=RESULTS,
        metavar="DIRECTORY",
        help="keep the results, and a picture of them, in bench/results or there",
    )

    serve = argparse.ArgumentParser(add_help=False)
    serve.add_argument(
        "--engine", action="append", choices=ENGINES, help="only this one (may be repeated)"
    )
    serve.add_argument(
        "--workload", action="append", choices=WORKLOADS, help="only this one (may be repeated)"
    )
    serve.add_argument("--seconds", type=seconds, help="how long each engine works in a round")
    serve.add_argument(
        "--targets",
        action="store_true",
        help="measure what the targets need, and say which are met",
    )

    commands.add_parser("scan", parents=[run], help="finding terminators and cutting, in memory")
    commands.add_parser("serve", parents=[run, serve], help="servers over real sockets")
    commands.add_parser("all", parents=[run, serve], help="these two")
    lines.add_options(commands.add_parser("lines", help="cutting lines, in memory"))
    beside = commands.add_parser("compare", help="this installation beside another one")
    beside.add_argument("python", help="the interpreter of an environment with the other one")
    beside.add_argument("--engine", action="append", choices=compare.NAMES)
    beside.add_argument("--workload", action="append", choices=WORKLOADS)
    beside.add_argument("--rounds", type=positive, default=7)
    beside.add_argument("--seconds", type=seconds, default=0.3)
    show = commands.add_parser("show", help="print the tables of kept results")
    show.add_argument("file", type=Path)
    write = commands.add_parser("report", help="write kept results into docs/performance.md")
    write.add_argument(
        "file",
        type=Path,
        nargs="*",
        help="one for each interpreter; without any, the newest of each in bench/results",
    )
    write.add_argument("--document", type=Path, default=DOCUMENT, help="another document")
    return made


def plan(options: argparse.Namespace) -> serving.Plan:
    """What ``bench serve`` is to do."""
    engines, workloads = list(ENGINES), list(WORKLOADS)
    if options.targets:
        engines, workloads = targets.ENGINES_NEEDED, targets.WORKLOADS_NEEDED
    elif options.quick:
        engines = QUICK_ENGINES
        workloads = [name for name in WORKLOADS if WORKLOADS[name].is_quick]
    rounds, length = (2, 0.15) if options.quick else (5, 0.3)
    return serving.Plan(
        options.engine or engines,
        options.workload or workloads,
        options.rounds or rounds,
        options.seconds or length,
    )


def scan_steps(options: argparse.Namespace, results: Results) -> list[Step]:
    """What there is to do for ``bench scan``, which fills *results*."""
    tasks, absent = scanning.tasks(options.quick)
    results.scan = scan = Scan(absent=absent)
    rounds = options.rounds or (3 if options.quick else 5)

    def step(make: Callable[[], scanning.Task]) -> None:
        scan.cases.append(scanning.time_task(make(), rounds, 0.005))

    return [("scan", partial(step, make)) for make in tasks]


def serve_steps(options: argparse.Namespace, results: Results) -> list[Step]:
    """The same for ``bench serve``.  Raises NoCompiler; the steps raise Failure."""
    run = serving.Run(plan(options))
    results.serve = run.results
    return [
        (f"{number}: {workload}: {ENGINES[engine].label}", partial(run.take, workload, engine))
        for number, workload, engine in run.steps()
    ]


def measure(options: argparse.Namespace) -> int:
    """Run what *options* ask for, print it, keep it where they say so."""
    where = terminal.console()
    results = Results.here(options.typed)
    status = 0
    try:
        if options.command in ("scan", "all"):
            terminal.take(where, scan_steps(options, results))
        if options.command in ("serve", "all"):
            terminal.take(where, serve_steps(options, results))
    except KeyboardInterrupt:
        terminal.complain("interrupted; this is what there is, and it is not kept")
        status = 130
    except (Failure, NoCompiler, scanning.Miscount) as failure:
        terminal.complain(str(failure))
        return 1
    terminal.show_all(where, results, every_scan=options.command == "scan" and not options.quick)
    if options.command != "scan" and options.targets and results.serve:
        terminal.show(where, targets.table(results.serve))
        status = status or (0 if targets.are_all_met(results.serve) else 1)
    if options.save and status != 130:
        kept = keep(results, options.save)
        where.print("Kept:", *map(str, kept), soft_wrap=True, highlight=False)
    disturbed = report_disturbed(tables.all_left_out(results.serve) if results.serve else [])
    return status or disturbed


def report_disturbed(sentences: list[str]) -> int:
    """Say what is not in the figures because servers waited; returns the exit status."""
    if not sentences:
        return 0
    terminal.complain("this machine was busy, and some of it is not measured:")
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return 1


def beside_another(options: argparse.Namespace) -> int:
    """Compare two installations, and print what there is."""
    engines = options.engine or ["fastchat", "fastchat-python"]
    made = serving.Plan(
        engines, options.workload or list(WORKLOADS), options.rounds, options.seconds
    )
    compared = compare.Compared(options.python)
    where = terminal.console()
    try:
        terminal.take(where, list(compare.steps(compared, made)))
    except (Failure, NoCompiler) as failure:
        terminal.complain(str(failure))
        return 1
    terminal.show(where, compared.table())
    return report_disturbed(compared.left_out())


def keep(results: Results, directory: Path) -> list[Path]:
    """Write *results* and, where there is something to draw, a picture; returns the paths."""
    kept = [results.write(directory)]
    if results.serve:
        # Here and not above: nothing else needs matplotlib.
        picture = importlib.import_module("bench.picture")
        kept.append(kept[0].with_suffix(".svg"))
        picture.draw(results, kept[1])
    return kept


def write_report(options: argparse.Namespace) -> int:
    """Write kept results into the document, those that are named or the newest."""
    try:
        files = options.file or newest(RESULTS)
        if not files:
            raise ValueError(f"there are no results in {RESULTS}")
        report.rewrite(options.document, *files)
    except (ValueError, report.NoMarkers) as failure:
        terminal.complain(str(failure))
        return 1
    return 0


def main(words: list[str]) -> int:
    options = parser().parse_args(words)
    options.typed = shlex.join(["python", "-m", "bench", *words])
    if options.command == "report":
        return write_report(options)
    if options.command == "lines":
        return lines.run(options)
    if options.command == "compare":
        return beside_another(options)
    if options.command == "show":
        where = terminal.console()
        results = Results.read(options.file)
        terminal.show_all(where, results, every_scan=True)
        if results.serve:
            terminal.show(where, targets.table(results.serve))
        return 0
    return measure(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
