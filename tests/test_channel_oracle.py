"""``LineChannel`` against an oracle: every split of short streams, and random servers.

The oracle and the scripts are in ``tests/random/channels.py``.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from tests.random.channels import Setting, class_of, expected, fault_of, play, splits
from tests.support.implementations import Implementation

# Each has the lines that do something, and what may be cut in two.
TOKENS = (b"\n", b"a", b"2", b"r", b"p", b"c", b"d", b"!", b"0", b"m")
LONGEST = 4

SETTINGS = [
    Setting(max_line=2),
    Setting(max_line=2, is_batch=True),
    Setting(max_line=1, lines_per_pass=1),
    Setting(delimiter=(b"\r\n", b"\n"), max_line=2),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_split_of_every_short_stream(ours: Implementation, setting: Setting) -> None:
    kind = class_of(ours.channel, setting)
    for size in range(LONGEST):
        for tokens in itertools.product(TOKENS, repeat=size):
            stream = b"".join(tokens)
            events, sent = expected(ours, stream, setting)
            for chunks in splits(stream):
                assert play(ours, kind, chunks) == (events, sent, [None]), chunks


LINES = (
    b"a\r\n",
    b"3\r\n\r\nx",
    b"r\r\n\r\n!",
    b"p\r\n",
    b"d\r\n",
    b"c\r\n",
    b"0\r\n",
    b"m\r\n",
    b"\r\r\n",
    b"aaaa\r\n",
)


@pytest.mark.parametrize("is_batch", [False, True], ids=["line", "lines"])
def test_every_split_in_two_of_some_lines(ours: Implementation, is_batch: bool) -> None:
    setting = Setting(delimiter=b"\r\n", max_line=3, is_batch=is_batch)
    kind = class_of(ours.channel, setting)
    for three in itertools.product(LINES, repeat=3):
        stream = b"".join(three)
        wanted: Any = (*expected(ours, stream, setting), [None])
        for at in range(len(stream)):
            chunks = [chunk for chunk in (stream[:at], stream[at:]) if chunk]
            assert play(ours, kind, chunks) == wanted, chunks


def test_random_servers(ours: Implementation) -> None:
    seed = random.randrange(2**32)
    for number in range(500):
        fault = fault_of(ours, random.Random(seed + number))
        assert fault is None, f"--seed {seed + number} --count 1: {fault}"
