"""The channel over TLS in docs/questions.md, and a client that does not begin its handshake.

test_docs_code.py runs the same code with a client that does.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from fastchat import asyncore
from tests.support.documents import read, split


def test_a_greeting_that_waits_for_the_handshake_makes_no_loop_spin() -> None:
    blocks, _ = split(read("docs/questions.md"))
    (code,) = [block.code for block in blocks if "def start_tls" in block.code]
    names: dict[str, Any] = {}
    exec(code.partition("def try_it")[0], names)
    sends = []
    stock = names["Channel"].send

    def send(channel: Any, data: bytes) -> Any:
        sends.append(data)
        return stock(channel, data)

    names["Channel"].send = send
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = names["Channel"](ours, names["context"](ssl.PROTOCOL_TLS_SERVER))
        try:
            channel.start_tls()
            channel.push(b"welcome\n")
            asyncore.loop(timeout=0, count=5)
        finally:
            channel.close()
    assert sends == [b"welcome\n"]
