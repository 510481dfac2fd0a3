"""What a scenario has found: a figure, what it means, and whether it is within its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Figure:
    """*value* of *what*, which is to be at most *most* and at least *least*, where there are such.

    *show* says how such a value is written.
    """

    what: str
    value: float
    show: Callable[[float], str]
    most: float | None = None
    least: float | None = None

    @property
    def is_within(self) -> bool:
        """Whether it is within its bounds; a value that is no number is not."""
        is_too_much = self.most is not None and not self.value <= self.most
        is_too_little = self.least is not None and not self.value >= self.least
        return not (is_too_much or is_too_little)

    def without_bounds(self) -> Figure:
        """The same, to be shown and not judged."""
        return replace(self, most=None, least=None)

    def __str__(self) -> str:
        words = [f"{self.what}: {self.show(self.value)}"]
        if self.most is not None:
            words.append(f"at most {self.show(self.most)}")
        if self.least is not None:
            words.append(f"at least {self.show(self.least)}")
        if len(words) > 1:
            words.append("met" if self.is_within else "BEYOND")
        return ", ".join(words)


def kib(value: float) -> str:
    return f"{value / 1024:,.0f} KiB"


def count(value: float) -> str:
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def share(value: float) -> str:
    return f"{value:.2%} of a CPU"


def rate(value: float) -> str:
    return f"{value:,.0f} a second"
