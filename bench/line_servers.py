"""Measure what a line costs a server of asyncio: ``python -m bench.line_servers``.

Real servers answer lines over real sockets: ``fastchat.aio.LineProtocol`` beside each way to do
the same without it.  A pair is measured one right after the other, each in a fresh process, and the
next one in the other order.  What is printed is the CPU time of the server for a line, and of the
ratios of the pairs the median, the least and the most; below 1 fastchat takes less.  Behind that
stands whether the target is met, where there is one.

``waited`` is the greatest share of the time that a server was ready to run while something else had
its CPU.  Above a few hundredths the machine was too busy to believe single pairs.

With ``--targets`` the exit status is 1 where one is missed, or could not be measured.

Raises Failure where a server's reply is wrong; for Linux, as ``bench serve``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import NamedTuple

import fastchat
from bench.results import Sample
from bench.serve import run as serving
from bench.serve.engines import ENGINES
from bench.serve.process import choose_cpus
from bench.serve.workloads import WORKLOADS


class Pair(NamedTuple):
    """An engine of fastchat, a rival, what both do, and what the ratio should be at most."""

    engine: str
    rival: str
    workload: str
    target: float | None = None

    def verdict(self, ratio: float | None) -> str:
        """Whether *ratio*, None where it was not measured, meets the target; "" without one."""
        if self.target is None:
            return ""
        if ratio is None:
            return f"at most {self.target:.2f}: not measured"
        return f"at most {self.target:.2f}: {'met' if ratio <= self.target else 'MISSED'}"

    def is_missed(self, ratio: float | None) -> bool:
        return self.target is not None and (ratio is None or ratio > self.target)


# The rivals on uvloop are the strongest authors that were measured: they split and join by hand.
PAIRS = (
    Pair("asyncio-aio", "asyncio-streams", "pipelined-16", 0.20),
    Pair("asyncio-aio-by-line", "asyncio-streams", "pipelined-16"),
    Pair("asyncio-aio", "asyncio-joined", "pipelined-16"),
    Pair("uvloop-aio", "uvloop-joined", "ping-pong"),
    Pair("uvloop-aio", "uvloop-joined", "pipelined-16", 0.95),
    Pair("uvloop-aio", "uvloop-joined", "pipelined-256", 0.95),
    Pair("uvloop-aio", "uvloop-joined", "long-lines", 0.45),
    Pair("uvloop-aio", "aiofastnet-uvloop-joined", "pipelined-16", 0.95),
    Pair("uvloop-aio", "aiofastnet-uvloop-joined", "pipelined-256", 0.95),
    Pair("uvloop-aio", "aiofastnet-uvloop-joined", "long-lines", 0.45),
)


def measure(pair: Pair, rounds: int, seconds: float, helpers: serving.Helpers) -> float:
    """Print a table row, and return the median of the ratios."""
    plan = serving.Plan([], [], rounds, seconds)
    workload, cpus = WORKLOADS[pair.workload], choose_cpus()
    taken: dict[str, list[Sample]] = {pair.engine: [], pair.rival: []}
    for number in range(rounds):
        for name in list(taken)[:: -1 if number % 2 else 1]:
            taken[name].append(serving.measure(ENGINES[name], workload, plan, cpus, helpers))
    both = list(zip(taken[pair.engine], taken[pair.rival], strict=True))
    ratios = [own.cpu / other.cpu for own, other in both]
    each = [statistics.median([sample.cpu for sample in taken[name]]) for name in taken]
    waited = max(sample.waiting_share or 0.0 for one in both for sample in one)
    ratio = statistics.median(ratios)
    print(
        f"{pair.workload:14} {pair.engine:20} {each[0]:8.2f} us  {pair.rival:25} {each[1]:8.2f} us"
        f"  {ratio:6.3f} ({min(ratios):.3f} - {max(ratios):.3f})"
        f"  waited {waited:.0%}  {pair.verdict(ratio)}".rstrip(),
        flush=True,
    )
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description="measure what a line costs a server of asyncio")
    parser.add_argument("--rounds", type=int, default=7, help="pairs (default 7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each half (default 0.5)")
    parser.add_argument("--engine", action="append", help="of fastchat; all where none is named")
    parser.add_argument("--workload", action="append", help="all where none is named")
    parser.add_argument(
        "--targets", action="store_true", help="measure what the targets need, and judge by them"
    )
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("at least one round, and some time")
    print(f"Python {sys.version.split()[0]}, fastchat {fastchat.__version__}; CPU time of a line")
    helpers = serving.Helpers.build()
    status = 0
    for pair in PAIRS:
        chosen = pair.engine in (options.engine or ENGINES)
        if not chosen or pair.workload not in (options.workload or WORKLOADS):
            continue
        if options.targets and pair.target is None:
            continue
        ratio = None
        absent = serving.absent([pair.engine, pair.rival])
        if absent:
            names = ", ".join(f"{name} ({why})" for name, why in absent.items())
            print(f"{pair.workload:14} left out: {names}  {pair.verdict(None)}".rstrip())
        else:
            ratio = measure(pair, options.rounds, options.seconds, helpers)
        if options.targets and pair.is_missed(ratio):
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
