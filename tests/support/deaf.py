"""A server of lines that loses requests, for test_bench_hostile.py."""

from __future__ import annotations

from fastchat import LineChannel


class Deaf(LineChannel):
    """Answers no line but a greeting."""

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return [line for line in lines if line == b"hello"]
