"""A LineBuffer that several threads use at once: the lines are nobody's, and nothing crashes.

Without a GIL what one thread reads may be released by another, unless both hold the buffer's lock.
"""

from __future__ import annotations

import ast
import sys
import threading
from typing import Any

import pytest

from tests.support.building import ROOT

SOURCE = ROOT / "src/fastchat/_core/lines.py"
# What is called before a program has the buffer, and what uses nothing of it.
UNLOCKED = {"__init__", "__bool__", "__reduce__"}


@pytest.fixture
def lines(ours: Any) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


def methods() -> list[ast.FunctionDef]:
    """What a program can call on a buffer, settings and what reads them among it."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (buffer,) = (each for each in tree.body if getattr(each, "name", "") == "LineBuffer")
    assert isinstance(buffer, ast.ClassDef)
    functions = [each for each in buffer.body if isinstance(each, ast.FunctionDef)]
    return [each for each in functions if not each.name.startswith("_") or each.name[1] == "_"]


def touched(node: ast.AST) -> int:
    """How often *node* names a member of the buffer itself."""
    return sum(
        isinstance(each, ast.Attribute)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
        and each.attr.startswith("_")
        for each in ast.walk(node)
    )


def is_of_python(node: ast.If) -> bool:
    """Whether *node* is run where nothing is compiled, and so nothing to be locked."""
    return ast.unparse(node.test) == "not cython.compiled"


def test_whatever_a_program_calls_locks_the_buffer() -> None:
    locked = 0
    for method in methods():
        if method.name in UNLOCKED:
            continue
        for node in ast.walk(method):
            if isinstance(node, ast.With) and "critical_section(self)" in ast.unparse(
                node.items[0]
            ):
                locked += touched(node)
                node.body = []
            elif isinstance(node, ast.If) and is_of_python(node):
                node.body = []
        assert not touched(method), f"{method.name}() uses the buffer without its lock"
    assert locked > 40


def test_two_threads_feed_what_others_read(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=1, overflow="discard")
    buffer.feed(b"x" * 70_000)  # so that each sum is a new int
    over = threading.Event()
    faults: list[Any] = []

    def write() -> None:
        for _ in range(5000):
            buffer.feed(b"x" * 5000)

    def read() -> None:
        while not over.is_set():
            found = (buffer.dropped, buffer.max_line, buffer.delimiter, len(buffer))
            if [type(each) for each in found] != [int, int, bytes, int]:
                faults.append(found)

    writers = [threading.Thread(target=write) for _ in range(2)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    interval = sys.getswitchinterval()
    if sys.gettrace() is None:  # CPython 3.11 and 3.12 fail where two threads begin to be traced
        sys.setswitchinterval(1e-6)
    try:
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        over.set()
        for thread in readers:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert faults == []
    assert buffer.dropped >= 70_000
