"""Let hostile clients at a server, and say what becomes of it: ``python -m bench.hostile``.

Each scenario starts servers of its own, by ``python -m fastchat echo`` or ``serve``, on the
loopback.  Their limits are the defaults; where one is shortened, the line of the figure names it.
The load is bounded in time, in bytes and in connections.  Each line is a figure, what it means, its
bound, and whether that is met.  The exit status is 1 where one is not.  For Linux, with a C
compiler, as ``bench serve``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from bench.compiled import NoCompiler
from bench.hostile.attention import descriptors, slowloris, urgent
from bench.hostile.clients import Plan
from bench.hostile.figures import Figure
from bench.hostile.memory import flood, greedy, unread
from bench.hostile.rivals import MODULES
from bench.hostile.server import IMPLEMENTATIONS, Launch
from bench.hostile.stop import stop
from bench.serve.process import Failure, allow_descriptors

Scenario = Callable[[Launch, Plan], Iterator[Figure]]

SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (flood, unread, slowloris, greedy, descriptors, urgent, stop)
}
# Those that a rival can be shown in.
_WITH_RIVALS = ("flood", "unread")
# Descriptors that are needed beside those of connections.
_OTHERS = 100


def play(launch: Launch, plan: Plan, names: Sequence[str], rivals: Sequence[str] = ()) -> int:
    """Play the scenarios *names*; 1 where a figure is beyond its bound, else 0.

    Raises Failure where a server does not do its work.
    """
    status = 0
    for name in names:
        scenario = SCENARIOS[name]
        print(f"{name}, {launch.implementation}: {scenario.__doc__}", flush=True)
        for figure in scenario(launch, plan):
            print(f"  {figure}", flush=True)
            status |= not figure.is_within
        for rival in rivals if name in _WITH_RIVALS else ():
            if not is_installed(MODULES[rival]):
                print(f"  beside, {rival}: left out, {MODULES[rival]} is not installed")
                continue
            for figure in scenario(dataclasses.replace(launch, rival=rival), plan):
                print(f"  beside, {rival}: {figure.without_bounds()}", flush=True)
    return status


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def main(words: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(words)
    names = options.scenario or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    given = vars(options)
    plan = Plan(**{each.name: given[each.name] for each in dataclasses.fields(Plan)})
    connections, most = max(plan.slow, plan.greedy) + _OTHERS, allow_descriptors()
    if connections > most:
        parser.error(f"so many connections need {connections} descriptors: {most} may be open")
    status = 0
    there = IMPLEMENTATIONS if is_installed("fastchat._scanner") else IMPLEMENTATIONS[1:]
    for implementation in options.implementation or there:
        extra = shlex.split(options.server_options)
        try:
            status |= play(
                Launch(implementation, extra, options.channel), plan, names, options.beside
            )
        except (Failure, NoCompiler) as failure:
            print(f"hostile: {failure}", file=sys.stderr)
            status = 1
    return status


# What the options of a plan say.
_ABOUT = {
    "bytes": "flood and unread: how many are sent",
    "slow": "slowloris: connections",
    "deadline": "slowloris: line_timeout and idle_timeout, in seconds; above 1",
    "greedy": "greedy: connections",
    "max_memory": "greedy: the limit, in bytes",
    "watch": "descriptors and urgent: seconds for which the CPU time is taken",
    "rate": "stop: requests a second",
    "seconds": "stop: of load before each signal",
    "rounds": "stop: how many servers are stopped",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all where none is named")
    add("--implementation", action="append", choices=IMPLEMENTATIONS, help="all by default")
    add("--beside", action="append", default=[], choices=MODULES, help="shown in flood and unread")
    add("--channel", default="", metavar="MODULE:CHANNEL", help="served in place of what is meant")
    add(
        "--server-options",
        default="",
        metavar="OPTIONS",
        help="more options for the server: see by '--max-line none' what becomes of flood then",
    )
    for each in dataclasses.fields(Plan):
        add(
            f"--{each.name.replace('_', '-')}",
            type=_above_zero(type(each.default)),
            default=each.default,
            metavar="N",
            help=f"{_ABOUT[each.name]} (default {each.default:,})",
        )
    return parser


def _above_zero(kind: type) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value: float = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"a number above 0 is wanted, not {text!r}")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main())
