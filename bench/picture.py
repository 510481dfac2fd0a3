"""Draws results of ``bench serve``: lines per CPU second, by engine and workload, by matplotlib.

A dot is the median of the rounds, the line through it reaches from the least to the greatest.  The
axes are logarithmic, because the engines lie up to a factor of hundreds apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from bench.results import Results
from bench.serve.engines import ENGINES
from bench.serve.workloads import WORKLOADS, plural

COLUMNS = 3
STEPS = (1, 2, 5)
COLOURS = {"fastchat": "#c0392b", "fastchat-python": "#e59866", "c": "#000000"}
OTHERS = "#5d7a99"


def draw(results: Results, path: Path) -> None:
    """Write the picture of *results* to *path*, in the format that its suffix names."""
    assert results.serve is not None
    # A text stays text, and the file does not differ where the figures do not.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 8})
    workloads = results.serve.workloads
    engines = [
        name
        for name in reversed(ENGINES)
        if any(comparison.figure(name, "cpu") for comparison in workloads.values())
    ]
    rows = -(-len(workloads) // COLUMNS)
    figure = Figure(figsize=(11, 0.4 + rows * (0.9 + 0.16 * len(engines))), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flatten()
    for panel, (name, comparison) in zip(panels, workloads.items(), strict=False):
        for height, engine in enumerate(engines):
            taken = comparison.figure(engine, "cpu")
            if taken is None:
                continue
            colour = COLOURS.get(engine, OTHERS)
            panel.plot([1e6 / taken.high, 1e6 / taken.low], [height, height], color=colour)
            panel.plot(1e6 / taken.median, height, "o", color=colour, markersize=4)
        panel.set_xscale("log")
        panel.set_xlim(*_surrounding(panel.dataLim.intervalx))
        panel.xaxis.set_major_locator(LogLocator(subs=STEPS))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_title(_folded(WORKLOADS[name].label), fontsize=8)
        panel.set_xlabel(f"{plural(comparison.unit)} per CPU second")
        panel.set_yticks(range(len(engines)), [ENGINES[engine].label for engine in engines])
        panel.set_ylim(-0.7, len(engines) - 0.3)
        panel.grid(axis="both", color="#dddddd", linewidth=0.5)
        panel.set_axisbelow(True)
    for panel in panels[len(workloads) :]:
        panel.set_visible(False)
    where = f"{results.machine['cpu']}, {results.python}, {results.made[:10]}"
    figure.suptitle(f"{where}; farther right is better")
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, metadata=metadata, dpi=150)


def _surrounding(interval: Sequence[float]) -> tuple[float, float]:
    """The numbers of ``STEPS`` and their multiples by ten next to *interval*, which it is in."""
    steps = [step * 10.0**power for power in range(-3, 10) for step in STEPS]
    low = max((step for step in steps if step < interval[0]), default=steps[0])
    high = min((step for step in steps if step > interval[1]), default=steps[-1])
    return low, high


def _folded(text: str) -> str:
    """*text* in two lines where it is too long for a panel."""
    if len(text) <= 48:
        return text
    space = text.rfind(" ", 0, 48)
    return f"{text[:space]}\n{text[space + 1 :]}"
