"""Progress and tables on the terminal, by rich.

The progress bar is drawn between two measurements and never during one: it has no thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import rich.table
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import tables
from bench.results import Results
from bench.tables import Table

# What is done next, in words, and the doing of it.
Step = tuple[str, Callable[[], object]]


def console() -> Console:
    """Where everything is written: wide enough for the tables where it is no terminal."""
    made = Console()
    return made if made.is_terminal else Console(width=200)


def take(where: Console, steps: Sequence[Step]) -> None:
    """Take all *steps*, with a progress bar."""
    bar = Progress(
        TextColumn("{task.description:40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=where,
        auto_refresh=False,
        transient=True,
        disable=not where.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=len(steps))
        for label, action in steps:
            bar.update(task, description=label)
            bar.refresh()
            action()
            bar.advance(task)


def show(where: Console, table: Table) -> None:
    """Print *table*; rows of fastchat stand out."""
    made = rich.table.Table(title=escape(table.title) or None, title_justify="left")
    for index, column in enumerate(table.columns):
        made.add_column(escape(column), justify="right" if index else "left")
    for row in table.rows:
        style = "bold" if row[0].startswith("fastchat") else None
        made.add_row(*map(escape, row), style=style)
    where.print(made)
    for remark in table.remarks:
        where.print(escape(remark), soft_wrap=True, highlight=False)
    where.print()


def show_all(where: Console, results: Results, *, every_scan: bool) -> None:
    """Print all that *results* has: every case of the scan, or those that matter most."""
    for sentence in tables.provenance(results):
        where.print(escape(sentence), soft_wrap=True, highlight=False)
    where.print()
    if results.scan:
        for table in tables.scan_tables(results.scan):
            if every_scan or (r" \r\n, " in table.title and "64 KiB" in table.title):
                show(where, table)
        headlines = tables.scan_headlines(results.scan)
        headlines.remarks = tables.absences(results.scan.absent)
        show(where, headlines)
    if results.serve:
        for name, comparison in results.serve.workloads.items():
            show(where, tables.workload_table(name, comparison))
        for remark in tables.absences(results.serve.absent):
            where.print(escape(remark), soft_wrap=True, highlight=False)


def complain(text: str) -> None:
    """Say why there are no results."""
    print(f"\nbench: {text}", file=sys.stderr)
