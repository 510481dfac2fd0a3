"""What ``bench serve`` compares fastchat with: that each rival is what its label says.

Nothing here is timed.  That every engine answers is tested in test_bench_serve.py; here it is who
answers, and what is known of how.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench.serve.engines import ENGINES
from tests.building import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bench/serve is for Linux")

# Prints the modules of the loop and of a transport that the engine in the first word would use.
WHO = """
import asyncio, socket, sys
from bench.serve.engines.loops import new_event_loop

loop = new_event_loop(sys.argv[1])

async def accept():
    accepted = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.set_result(transport)

    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()  # rloop closes the listener that it is given
    with socket.socket() as client:
        client.setblocking(False)
        server = await loop.create_server(Protocol, sock=listener)
        await loop.sock_connect(client, address)
        transport = await accepted
        print(type(loop).__module__.split(".")[0], type(transport).__module__.split(".")[0])
        transport.abort()
    server.close()
    await server.wait_closed()

loop.run_until_complete(accept())
loop.close()
"""

# The first parts of both modules.
LOOPS = {
    "asyncio-protocol": ("asyncio", "asyncio"),
    "uvloop-protocol": ("uvloop", "uvloop"),
    "rloop-protocol": ("rloop", "rloop"),
    "zuvloop-protocol": ("zuvloop", "zuvloop"),
    "aiofastnet-asyncio": ("asyncio", "aiofastnet"),
    "aiofastnet-uvloop": ("uvloop", "aiofastnet"),
}


def test_each_protocol_engine_is_named() -> None:
    """None is added without a word on whose it is."""
    engines = {name for name, engine in ENGINES.items() if engine.module == "protocol"}
    assert engines - {"asyncio-joined", "uvloop-joined"} == set(LOOPS)


@pytest.mark.parametrize("name", LOOPS)
def test_loop_and_transport_are_those_of_the_label(name: str) -> None:
    if absence := ENGINES[name].absence():
        pytest.skip(absence)
    done = subprocess.run(
        [sys.executable, "-c", WHO, name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert tuple(done.stdout.split()) == LOOPS[name]
