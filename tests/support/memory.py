"""What a call allocates, by what the interpreter counts: it is the same on a busy machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def memory_of(call: Callable[[], Any]) -> tuple[int, int]:
    """How many bytes more are allocated behind *call* than before, and at most while it runs."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count what it allocates")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before
