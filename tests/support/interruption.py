"""What the files test_interrupted_*.py share: where they run, and what their handlers raise."""

from __future__ import annotations

import sys

import pytest

from tests.support.channels import posix_only

where_there_are_points = [
    posix_only,
    pytest.mark.skipif(
        sys.implementation.name != "cpython" or sys.version_info >= (3, 15),
        reason="points are those of CPython up to 3.14",
    ),
]


class Interruption(KeyboardInterrupt, AttributeError, IndexError, KeyError, TypeError, ValueError):
    """What the handler raises: it leaves the loop, and no ``except`` may take it for its own."""
