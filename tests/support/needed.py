"""What a test needs that may not be installed.

A test skips where it is missing; where ``FASTCHAT_REQUIRE_`` and the name of its kind is 1 in the
environment, as in CI, the test runs nevertheless, and fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import pytest


def _can_be_left_out(module: str, kind: str) -> bool:
    is_required = os.environ.get(f"FASTCHAT_REQUIRE_{kind}") == "1"
    return importlib.util.find_spec(module) is None and not is_required


def needs(module: str, kind: str) -> pytest.MarkDecorator:
    """The mark of a test that needs *module*."""
    return pytest.mark.skipif(_can_be_left_out(module, kind), reason=f"{module} is not installed")


def needed(module: str, kind: str) -> Any:
    """*module*, imported; the test that runs skips where it may be missing, and is.

    Raises ImportError where it may not.
    """
    if _can_be_left_out(module, kind):
        pytest.skip(f"{module} is not installed")
    return importlib.import_module(module)
