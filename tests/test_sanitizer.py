"""The compiled scanner reads nothing outside its buffers: ``tools/asan.py`` finds nothing.

That it would find something is part of the tool itself, which first reads outside on purpose.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "asan.py"


@pytest.mark.compiled
@pytest.mark.build
@pytest.mark.skipif(sys.platform != "linux", reason="the tool knows how to preload on Linux only")
def test_no_read_outside_a_buffer() -> None:
    answer = subprocess.run(
        [sys.executable, str(TOOL)], capture_output=True, text=True, check=False, timeout=300
    )
    if answer.returncode == 2 and not os.environ.get("FASTCHAT_REQUIRE_ASAN"):
        pytest.skip(answer.stdout.strip())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "no read outside a buffer" in answer.stdout
