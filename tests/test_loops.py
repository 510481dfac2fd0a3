"""The kept loop and the old one agree over random scripts.

The long run is ``python -m tests.random.loops``; see that module for what is compared.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.random import loops
from tests.support.implementations import Implementation

COUNT = 500
SIMULATED_COUNT = 3000


def test_any_sequence_is_one_that_the_old_loop_could_have_given(ours: Implementation) -> None:
    # The same ones each time; `python -m tests.random.loops` plays others.
    for seed in range(COUNT):
        difference = loops.disagreement(seed, [ours.name])
        assert difference is None, f"{difference}\n{loops.explain(loops.make(seed))}"


def test_any_sequence_on_a_simulated_network_is_one_of_the_old_loop(ours: Implementation) -> None:
    for seed in range(COUNT, COUNT + SIMULATED_COUNT):
        difference = loops.disagreement(seed, [ours.name], loops.Simulated)
        assert difference is None, f"{difference}\n{loops.explain(loops.make(seed))}"


@pytest.mark.parametrize("network", [loops.Sockets, loops.Simulated])
def test_a_disagreement_is_found_and_explained(
    ours: Implementation, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison itself can fail: a play that loses one event is caught, with its seed."""
    note = loops.World.note

    def lossy(world: Any, slot: int, what: Any) -> None:
        if world.orders is not None or what != "found":
            note(world, slot, what)

    monkeypatch.setattr(loops.World, "note", lossy)
    found = [loops.disagreement(seed, [ours.name], network) for seed in range(30)]
    assert any(difference and "differ in pass" in difference for difference in found)
    assert "before pass 0" in loops.explain(loops.make(3)) + loops.explain(loops.make(4))
