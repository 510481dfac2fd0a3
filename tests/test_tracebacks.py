"""Tracebacks that pass through the compiled core: they name files and lines that are installed."""

from __future__ import annotations

import socket
import traceback
from pathlib import Path

import pytest

import fastchat
from fastchat import asyncore
from tests.support.implementations import AUTOMATIC

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(AUTOMATIC != "cython", reason="this interpreter runs the core as Python"),
]

PACKAGE = Path(fastchat.__file__).parent


class Failing(asyncore.dispatcher):
    """Fails where the compiled core asks it, and lets that leave the loop."""

    def readable(self) -> bool:
        raise LookupError("of the program")

    def handle_error(self) -> None:
        raise


def test_compiled_frames_name_their_source() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Failing(ours, {})
        with pytest.raises(LookupError) as caught:
            asyncore.loop(count=1, map=channel._map)
    frames = traceback.extract_tb(caught.tb)
    compiled = [frame for frame in frames if not Path(frame.filename).is_absolute()]
    assert compiled
    for frame in compiled:
        assert Path(frame.filename).parent == Path("fastchat", "_core")
        assert (PACKAGE.parent / frame.filename).is_file()
    last = compiled[-1]
    assert last.lineno is not None
    lines = (PACKAGE.parent / last.filename).read_text().splitlines()
    assert "readable()" in lines[last.lineno - 1]
