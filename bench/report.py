"""Writes results into a document: ``python -m bench report [FILE.json ...]``.

The part of docs/performance.md between two markers is made from files of results, one for each
interpreter, and from nothing else, so that what the document claims was measured, and where, when
and with what.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench import tables
from bench.results import Results
from bench.tables import Table

BEGIN = "<!-- results: begin. What follows is written by `python -m bench report`. -->"
END = "<!-- results: end -->"

# Suffixes that a picture beside the results may have.
PICTURES = (".svg", ".png")


class NoMarkers(Exception):
    """The document does not say where results belong."""


def rewrite(document: Path, *sources: Path) -> None:
    """Put the results in *sources*, in that order, between the markers of *document*.

    Raises NoMarkers, and ValueError where two are of the same interpreter.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoMarkers(f"{document} has no lines {BEGIN} and {END}")
    made = sections({source: Results.read(source) for source in sources}, document)
    document.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", encoding="utf-8")


def sections(kept: dict[Path, Results], document: Path) -> str:
    """All results, by the files that they are kept in, as Markdown to stand in *document*: where
    there are several interpreters, a table of them, and a part for each.

    Raises ValueError where two files are of the same interpreter, which nobody could tell apart.
    """
    pythons = [results.python for results in kept.values()]
    if len(set(pythons)) < len(pythons):
        raise ValueError(f"two results are of the same interpreter: {', '.join(pythons)}")
    if len(kept) == 1:
        ((source, results),) = kept.items()
        return section(results, source, document)
    table = tables.interpreters(list(kept.values()))
    parts = ["### The interpreters\n", table.title + ".\n", markdown(table) + "\n"]
    for source, results in kept.items():
        parts += [f"### {results.python}\n", section(results, source, document, "####")]
    return "\n".join(parts)


def section(results: Results, source: Path, document: Path, level: str = "###") -> str:
    """The results, which are kept in *source*, as Markdown to stand in *document*; headings begin
    with *level*."""
    parts = [*tables.provenance(results), f"All figures: {_link(source, document)}."]
    serve, scan = results.serve, results.scan
    if serve:
        for suffix in PICTURES:
            picture = source.with_suffix(suffix)
            if picture.exists():
                parts.append("!" + _link(picture, document, "lines per CPU second"))
                break
        overview = tables.overview(serve)
        memory = tables.other_figures(serve, "memory", "")
        parts += [f"{level} CPU time", overview.title + ".", markdown(overview)]
        ratios = tables.ratios(serve)
        parts += [f"{level} fastchat and the others", ratios.title + ".", markdown(ratios)]
        parts += [f"{level} Where fastchat does not win"]
        parts += ["\n".join(f"- {sentence}" for sentence in tables.losses(serve))]
        parts[-1] = parts[-1] or "In none of these workloads."
        parts += [f"{level} Latency", "The slowest turn in a hundred, in µs, all connections busy."]
        parts += [markdown(tables.other_figures(serve, "p99", ""))]
        if memory.rows:
            parts += [f"{level} Memory", "KiB of the server's memory for an idle connection."]
            parts += [markdown(memory)]
    if scan:
        headlines = tables.scan_headlines(scan)
        headlines.remarks = tables.absences(scan.absent)
        parts += [f"{level} The scanner", markdown(headlines)]
        parts += [
            text
            for table in tables.scan_tables(scan)
            if r" \r\n, 64 KiB" in table.title
            for text in (f"{table.title}.", markdown(table))
        ]
    return "\n\n".join(parts) + "\n"


def _link(target: Path, document: Path, text: str = "") -> str:
    path = Path(os.path.relpath(target, document.parent)).as_posix()
    return f"[{text or target.name}]({path})"


def markdown(table: Table) -> str:
    """*table* without its title, and its remarks below."""
    lines = [table.columns, ["---", *["--:"] * (len(table.columns) - 1)], *table.rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([text, *table.remarks])
