"""A scene of many channels, interrupted by a signal handler in the middle of a pass.

What the handler raises and changes is tried at a random part of all points; see
tests/random/interrupted.py, whose command takes more of them.
"""

from __future__ import annotations

import random
import zlib

import pytest

from tests.random import interrupted
from tests.random.actions import ACTIONS
from tests.random.scene import VARIANTS, Variant
from tests.support.interruption import where_there_are_points

pytestmark = where_there_are_points

# How many points of each variant are tried: the rest is for the command.
SAMPLE = 50


@pytest.mark.parametrize(
    ("implementation", "variant"),
    [pytest.param(variant.implementation, variant, id=str(variant)) for variant in VARIANTS],
)
def test_the_scene_survives_an_interruption_anywhere(implementation: str, variant: Variant) -> None:
    # The same every time; make traces draws others.
    seed = zlib.crc32(str(variant).encode())
    draw = random.Random(seed)
    golden, points = interrupted.points_of(variant)
    for at in interrupted.sample(points, SAMPLE, draw):
        fault = interrupted.fault_of(variant, golden, at, draw.choice(ACTIONS))
        assert fault is None, f"seed {seed}: {fault}"
    assert not interrupted.leaks(), f"seed {seed}"
