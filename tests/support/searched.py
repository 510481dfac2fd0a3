"""How many bytes a LineBuffer searches: work that can be counted, and so needs no clock.

What is counted is the scanner in Python; the compiled one is called by the same code, and has the
same bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.implementations import load


def searched(monkeypatch: pytest.MonkeyPatch, call: Callable[[Any], None]) -> int:
    """How many bytes *call* searches, which is given the module, where nothing is compiled."""
    implementation = load("python")
    scanner: Any = implementation.scanner
    search, find_first = scanner._search, scanner._find_first
    total = 0

    def note(data: bytes, start: int, end: int) -> None:
        nonlocal total
        total += max(0, min(end, len(data)) - start)

    def counting(data: bytes, terminator: bytes, start: int, end: int) -> int:
        index: int = search(data, terminator, start, end)
        note(data, start, index if index >= 0 else end)
        return index

    def counting_first(data: bytes, several: Any, start: int, end: int) -> Any:
        found = find_first(data, several, start, end)
        note(data, start, found[0] if found else end)
        return found

    monkeypatch.setattr(scanner, "_search", counting)
    monkeypatch.setattr(scanner, "_find_first", counting_first)
    call(implementation.core["lines"])
    return total
