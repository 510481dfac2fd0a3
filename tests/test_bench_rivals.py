"""What ``bench serve`` compares fastchat with: that each rival is what its label says.

Nothing here is timed.  That every engine answers is tested in test_bench_serve.py; here it is who
answers, and what is known of how.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import struct
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench import tables
from bench.results import Comparison, Sample, Serve
from bench.serve import run as serving
from bench.serve.engines import ENGINES, HAS_STDLIB
from bench.serve.process import choose_cpus
from bench.serve.workloads import WORKLOADS
from tests.support.building import ROOT

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
    assert {name for name in engines if not name.endswith("-joined")} == set(LOOPS)


@pytest.mark.parametrize("name", LOOPS)
def test_loop_and_transport_are_those_of_the_label(name: str) -> None:
    if absence := ENGINES[name].absence():
        pytest.skip(absence)
    done = subprocess.run(
        [sys.executable, "-c", WHO, name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert tuple(done.stdout.split()) == LOOPS[name]


def test_asynchat_is_that_of_the_label() -> None:
    """The standard library's on Python 3.11, and on later ones pyasynchat's; one of them at most,
    because both have the same name."""
    present = [name for name in ("stdlib", "pyasynchat") if ENGINES[name].absence() is None]
    if HAS_STDLIB:
        assert present == ["stdlib"]
        return
    # The suite compares with it: it is in the dependency group.
    assert present == ["pyasynchat"]
    found = importlib.util.find_spec("asynchat")
    assert found
    assert found.origin
    files = metadata.distribution("pyasynchat").files or []
    assert Path(found.origin) in [Path(str(file.locate())) for file in files]


@pytest.mark.parametrize(
    ("engines", "column"),
    [
        (["fastchat", "stdlib"], "/ stdlib"),
        (["fastchat", "pyasynchat"], "/ pyasynchat"),
        (["fastchat", "stdlib", "pyasynchat"], "/ stdlib"),
        (["fastchat"], "/ stdlib"),
    ],
)
def test_pyasynchat_takes_the_place_of_the_standard_library(
    engines: list[str], column: str
) -> None:
    samples: dict[str, list[Sample | None]] = {
        name: [Sample(cpu=2.0 + number, rate=1.0, server_share=1.0)]
        for number, name in enumerate(engines)
    }
    table = tables.workload_table("ping-pong", Comparison("line", samples))
    named = {"/ stdlib", "/ pyasynchat"} & set(table.columns)
    assert named == {column}
    ratio = dict(zip(table.columns, table.rows[0], strict=True))[column]
    assert ratio == ("0.667" if len(engines) > 1 else "")


# How replies leave.

# Fewer than the segments that may be on their way before the first is acknowledged, which is 10: a
# further one would wait, and leave with those behind it.
TOGETHER = 8
# Where the kernel says how many segments with data a socket has received; linux/tcp.h has the rest.
SEGMENTS = struct.Struct("152xI")


def segments(client: socket.socket) -> int:
    (count,) = SEGMENTS.unpack(
        client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SEGMENTS.size)
    )
    assert isinstance(count, int)
    return count


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("name", ENGINES)
def test_replies_to_pipelined_requests_leave_as_declared(name: str) -> None:
    """With TCP_NODELAY, each call of the system that sends makes a segment of its own, so that
    those that reach the client are the sends of the server."""
    engine = ENGINES[name]
    if absence := engine.absence():
        pytest.skip(absence)
    request = b"".join(b"line %d of some\r\n" % number for number in range(TOGETHER))
    taken = []
    with (
        serving.start(engine, "echo", choose_cpus()[0], serving.Helpers.build()) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as client,
    ):
        for _ in range(3):
            before = segments(client)
            client.sendall(request)
            reply = b""
            while len(reply) < len(request):
                piece = client.recv(65536)
                assert piece
                reply += piece
            assert reply == request
            taken.append(segments(client) - before)
    if engine.joins is None:
        pytest.skip(f"nobody has said what it does; {TOGETHER} replies took {taken} sends")
    # The median, because on a busy machine the kernel sends one a second time.
    assert sorted(taken)[1] == (1 if engine.joins else TOGETHER), taken


def test_the_tables_say_whose_replies_are_joined() -> None:
    samples: dict[str, list[Sample | None]] = {
        name: [Sample(cpu=2.0, rate=1.0, server_share=1.0)]
        for name in ("fastchat", "uvloop-protocol", "uvloop-joined", "zuvloop-protocol")
    }
    serve = Serve(0.3, [1, 0], workloads={"pipelined-16": Comparison("line", samples)})
    overview = tables.overview(serve)
    assert overview.columns[-1] == "replies joined"
    assert {row[0]: row[-1] for row in overview.rows} == {
        "fastchat, compiled": "yes",
        "uvloop Protocol": "no",
        "uvloop Protocol, replies joined": "yes",
        "zuvloop Protocol": "not known",
    }
    ratios = tables.ratios(serve)
    assert ratios.columns[-1] == "replies joined"
    assert [row[-1] for row in ratios.rows] == ["no", "yes", "not known"]


def test_the_readme_says_where_replies_are_joined() -> None:
    """Where there are several in flight, and output is held."""
    joins = [ENGINES[name].joins for name in ("fastchat", "fastchat-unheld", "pyasynchat")]
    assert joins == [True, False, False]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    figures = 2 * r" \| [\d.]+ \([\d. -]+\)" + r" \|$"
    rows = re.findall(r"^\| `([\w-]+)`: (.*) \| ([\w ]+)" + figures, text, re.MULTILINE)
    assert rows
    for workload, words, said in rows:
        are_joined = WORKLOADS[workload].depth > 1 and "imported" in words
        assert said == ("by fastchat" if are_joined else "none"), workload
