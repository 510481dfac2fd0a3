"""Connections leave nothing behind: a short run of ``tools/leaks.py`` for each implementation.

That it would find something is part of the tool itself, which first leaks on purpose.  Here are too
few connections for what they leave in resident memory to show; ``make leaks`` has enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.channels import PATIENCE, counts_references, posix_only
from tests.support.implementations import Implementation
from tools import leaks

pytestmark = [posix_only, counts_references]

CONNECTIONS = 500

TOOL = Path(leaks.__file__)


def run(implementation: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What the tool says of *implementation*."""
    # The interpreter counts blocks of its own allocator only.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONMALLOC"}
    return subprocess.run(
        [sys.executable, str(TOOL), "--implementation", implementation, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * PATIENCE,
    )


def test_nothing_is_left_behind(ours: Implementation) -> None:
    answer = run(ours.name, "--connections", str(CONNECTIONS * len(leaks.SCENES)))
    if answer.returncode == 2:
        pytest.skip(answer.stderr.strip())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "leaks: none, 7,500 connections" in answer.stdout


def test_what_is_left_is_told() -> None:
    before = leaks.Count(descriptors=5, blocks=1000, resident=10**7)
    before.objects["Channel"] = 7
    after = leaks.Count(descriptors=6, blocks=1000, resident=10**7)
    after.objects["Channel"] = 7 + 400
    after.references["None"] = 53
    told = leaks.growth(before, after, 400)
    assert told["leaks"] == {"descriptors": "1", "objects": "Channel +400"}
    assert (told["references"], told["blocks"], told["resident"]) == (53, 0, 0)


@pytest.mark.parametrize(("more", "told"), [(304, {}), (305, {"references": "all objects +305"})])
def test_a_debug_build_tells_of_more_references_to_all_objects_together(
    more: int, told: dict[str, str]
) -> None:
    before, after = leaks.Count(), leaks.Count()
    before.references[leaks.ALL_OBJECTS] = 10**6
    after.references[leaks.ALL_OBJECTS] = 10**6 + more
    assert leaks.growth(before, after, 400)["leaks"] == told
