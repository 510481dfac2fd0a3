"""The corpus of ``make fuzz``: each program in it is played on both implementations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz.lines import CORPUS, fault_of
from tests.support.implementations import Implementation

PROGRAMS = sorted(CORPUS.iterdir())


def test_there_is_a_corpus() -> None:
    assert len(PROGRAMS) > 50


@pytest.mark.parametrize("part", range(8))
def test_every_program_that_was_worth_keeping(ours: Implementation, part: int) -> None:
    for program in PROGRAMS[part::8]:
        assert fault_of([ours.core["lines"]], program.read_bytes()) is None, program.name


def test_a_fault_would_be_found(ours: Implementation) -> None:
    class Wrong(ours.core["lines"].LineBuffer):  # type: ignore[misc]  # it has no type
        def feed(self, data: bytes, most: int | None = None) -> Any:
            return super().feed(data, most)[:1]

    wrong: Any = type("module", (), {"LineBuffer": Wrong})
    faults = [fault_of([wrong], program.read_bytes()) for program in PROGRAMS]
    assert any(faults)
