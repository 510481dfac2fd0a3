"""The cases of ``bench scan``, their check, and their timing.

Rules this file keeps:

* Before anything is timed, every contender counts the terminators of the case, and the bytes
  between them, and has to agree with ``bytes.count``.
* The contenders take turns, round by round; each round is some milliseconds of work.
* A stream begins with half a line, so that receives end in the middle of lines, as they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.results import Case
from bench.scan import contenders
from bench.scan.contenders import Cutter, Feed, Searcher

LINES = (8, 32, 128, 1024, 8192, 65536)
TERMINATORS = (b"\n", b"\r\n", b"\r\n\r\n", b"\r\n.\r\n")
SIZES = (4096, 65536, 2**20)

# Bytes of a stream, unless one receive is more; what is searched at once is one receive.
STREAM = 2**18

# The standard library copies the rest of what it has received for every line.  Where that would be
# more than so many bytes in one case, it is left out: it would take seconds.
MOST_COPIED = 1.2e9


class Miscount(Exception):
    """A contender found other terminators than there are: no figure of this run counts."""


@dataclass(frozen=True)
class Input:
    """What is to be cut: *stream*, received *size* bytes at a time, at *terminator*."""

    label: str
    stream: bytes
    terminator: bytes
    size: int
    line: int = 0

    def case(self, kind: str) -> Case:
        data = self.stream[: self.size] if kind == "search" else self.stream
        matches = data.count(self.terminator)
        return Case(
            kind, self.label, self.line, repr(self.terminator)[2:-1], self.size, matches, len(data)
        )


def lines(line: int, terminator: bytes, size: int) -> Input:
    """Lines of *line* bytes, the terminator included."""
    one = (b"abcdefghijklmnopqrstuvwxyz" * (line // 26 + 1))[: line - len(terminator)] + terminator
    half = one[line // 2 :]
    stream = half + one * ((max(STREAM, size) - len(half)) // line)
    return Input(f"lines of {line} bytes", stream, terminator, size, line)


def pathological(terminator: bytes, size: int) -> Iterator[Input]:
    """What looks like a terminator all the time, and is none."""
    shapes = {
        "its first byte, again and again": terminator[:1],
        "its last byte, again and again": terminator[-1:],
        "all of it but the last byte": terminator[:-1] + b"x",
        "all of it but the first byte": b"x" + terminator[1:],
    }
    for label, shape in shapes.items():
        yield Input(label, shape * (max(STREAM, size) // len(shape)), terminator, size)


def inputs(is_quick: bool) -> list[Input]:
    """All inputs; the *is_quick* ones are those of the tables on the terminal."""
    made = []
    for terminator in (b"\r\n",) if is_quick else TERMINATORS:
        for size in (65536,) if is_quick else SIZES:
            made += [lines(line, terminator, size) for line in LINES if line <= size]
            if len(terminator) > 1:
                made += pathological(terminator, size)
    return made


@dataclass(frozen=True)
class Task:
    """A case, and what each contender has to do for it, so many times."""

    case: Case
    actions: dict[str, Callable[[int], object]]


def search_task(given: Input, searchers: dict[str, Searcher]) -> Task:
    """Search the first receive of *given*.  Raises Miscount."""
    case = given.case("search")
    data = given.stream[: given.size]
    actions: dict[str, Callable[[int], object]] = {}
    for name, count in searchers.items():
        counted = count(data, given.terminator, 1)
        if counted != case.matches:
            raise Miscount(f"{name} finds {counted} terminators, not {case.matches}, in {case}")
        actions[name] = partial(count, data, given.terminator)
    return Task(case, actions)


def cut_task(given: Input, cutters: dict[str, Cutter]) -> Task:
    """Receive all of *given*.  Raises Miscount."""
    case = given.case("cut")
    feed = Feed(given.stream, given.size)
    bytes_between = case.bytes - case.matches * len(given.terminator)
    copied = case.matches * given.size // 2
    actions: dict[str, Callable[[int], object]] = {}
    for name, cut in cutters.items():
        if name == contenders.STANDARD and copied > MOST_COPIED:
            case.left_out[name] = f"would copy {copied / 1e9:.0f} GB"
            continue
        counted = cut(feed, given.size, given.terminator, True)
        if counted != (case.matches, bytes_between):
            raise Miscount(
                f"{name} finds {counted} terminators and bytes, "
                f"not {(case.matches, bytes_between)}, in {case}"
            )
        actions[name] = partial(_repeat, partial(cut, feed, given.size, given.terminator, False))
    return Task(case, actions)


def _repeat(action: Callable[[], object], repeats: int) -> None:
    for _ in range(repeats):
        action()


def tasks(is_quick: bool) -> tuple[list[Callable[[], Task]], dict[str, str]]:
    """All tasks, each made when it is called, and the contenders that are absent."""
    loaded, absent = contenders.implementations()
    searchers, without_compiler = contenders.searchers(loaded)
    cutters = contenders.cutters(loaded)
    made: list[Callable[[], Task]] = []
    for given in inputs(is_quick):
        made.append(partial(search_task, given, searchers))
        made.append(partial(cut_task, given, cutters))
    return made, absent | without_compiler


def time_task(task: Task, rounds: int, seconds: float) -> Case:
    """Time every contender *rounds* times, about *seconds* each; returns the case, filled."""
    repeats = {name: _repeats(action, seconds) for name, action in task.actions.items()}
    for _ in range(rounds):
        for name, action in task.actions.items():
            took = _time(action, repeats[name]) / repeats[name]
            task.case.seconds.setdefault(name, []).append(took)
    return task.case


def _repeats(action: Callable[[int], object], seconds: float) -> int:
    """How often *action* has to be done to take *seconds*."""
    repeats = 1
    while (took := _time(action, repeats)) < seconds / 2:
        repeats = max(2 * repeats, int(repeats * seconds / max(took, 1e-7) / 2))
    return max(1, round(repeats * seconds / took))


def _time(action: Callable[[int], object], repeats: int) -> float:
    began = time.process_time()
    action(repeats)
    return time.process_time() - began
