"""The points at which CPython may run a signal handler, for interrupted.py.

They are where a function begins, where a loop goes back, and behind each call.  ``Points`` finds
those that some code passes, and lets a signal arrive at one of them.
"""

from __future__ import annotations

import dis
import sys
from _thread import interrupt_main
from collections import Counter
from types import CodeType, FrameType
from typing import Any


class _Trip:
    """``+trip`` is a signal: its handler runs at the next point, and not before.

    A call would be followed by such a point itself; an operator is not.
    """

    __pos__ = interrupt_main


_trip = _Trip()

# The instructions that come to a point, or whose callee begins with one.
_LOOKS = ("RESUME", "CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")

_looks: dict[CodeType, frozenset[int]] = {}


def _looks_of(code: CodeType) -> frozenset[int]:
    """The offsets of those instructions in *code*."""
    found = _looks.get(code)
    if found is None:
        found = frozenset(
            instruction.offset
            for instruction in dis.get_instructions(code)
            if instruction.opname.startswith(_LOOKS)
        )
        _looks[code] = found
    return found


# A point: a function, an offset in it, and how often the interpreter has been there before.
Point = tuple[CodeType, int, int]


class Points:
    """Notes the points that are passed while this is on, or, where there is one, looks for *at*.

    There a signal arrives.  *directory* is that of the code that is looked at.
    """

    def __init__(self, directory: str, at: Point | None = None) -> None:
        self.directory = directory
        self.before = sys.gettrace()  # that of a measurement of coverage
        self.at = at
        self.passed: list[Point] = []
        self.counts: Counter[tuple[CodeType, int]] = Counter()

    def __enter__(self) -> None:
        if self.at is None:
            sys.settrace(self.enter)
        elif self.counts[self.at[:2]] <= self.at[2]:
            sys.settrace(self.find)

    def __exit__(self, *details: Any) -> None:
        sys.settrace(self.before)

    def enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        """The trace function of a function that begins."""
        if not frame.f_code.co_filename.startswith(self.directory):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self.look(frame, "opcode", arg)

    def look(self, frame: FrameType, event: str, arg: Any) -> Any:
        """The trace function of a function that runs."""
        place = frame.f_code, frame.f_lasti
        if event == "opcode" and place[1] in _looks_of(place[0]) and not _would_abort(place[0]):
            self.passed.append((*place, self.counts[place]))
            self.counts[place] += 1
        return self.look

    def find(self, frame: FrameType, event: str, arg: Any) -> Any:
        """The trace function for one point only."""
        assert self.at is not None
        code, offset, count = self.at
        if frame.f_code is not code:
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        if event in ("call", "opcode") and frame.f_lasti == offset:
            self.counts[code, offset] += 1
            if self.counts[code, offset] == count + 1:
                sys.settrace(self.before)
                +_trip  # type: ignore[misc]  # noqa: B018 (the operator is a call)
        return self.find


def _would_abort(code: CodeType) -> bool:
    """Whether a debug build of CPython ends the process where a signal arrives in *code*.

    os.fstat() multiplies integers, where handlers are run too, and goes on after an exception.
    """
    return hasattr(sys, "gettotalrefcount") and "fstat" in code.co_names
