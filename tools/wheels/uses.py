"""What a user does with an installed wheel, each by name: ``python -m tools.wheels.uses NAME``.

This runs in the environment that the wheel is installed in, from the unpacked sdist, so it uses
nothing but the standard library, what tests use, and for ``ftp`` pyftpdlib.  A use that goes wrong
raises.
"""

from __future__ import annotations

import ftplib
import random
import statistics
import sys
import tempfile
from pathlib import Path

import fastchat
from bench.scan import contenders
from bench.scan import run as scanning
from tests.support.examples import TIMEOUT, Client, running

SIZE = 3_000_000

FTP_SERVER = """
import logging, os, signal, sys
from pyftpdlib import ioloop
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

assert ioloop.asyncore.__name__ == "fastchat.asyncore", ioloop.asyncore
logging.basicConfig(filename=os.devnull)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
authorizer = DummyAuthorizer()
authorizer.add_anonymous(sys.argv[1])
handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
server = FTPServer(("127.0.0.1", 0), handler)
print("listening on 127.0.0.1:%d" % server.address[1], flush=True)
server.serve_forever()
"""


def identity(scratch: Path) -> str:
    """Which implementation runs, whether with a GIL, and from where."""
    is_enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return f"{fastchat.implementation}, GIL: {is_enabled()}, {fastchat.__file__}"


def legacy(scratch: Path) -> str:
    """Get a file from examples/file_server.py, which imports asynchat, by ``fastchat run``."""
    data = served(scratch)
    root = ("--root", str(data.parent))
    with running(fastchat.implementation, "file_server.py", scratch, *root) as server:
        client = Client(server.port)
        client.send(b"GET data\r\nQUIT\r\n")
        assert client.line() == b"OK %d" % SIZE
        assert client.exactly(SIZE) == data.read_bytes()
        assert client.rest().startswith(b"OK")
        client.close()
        server.check()
    return f"{SIZE} bytes"


def ftp(scratch: Path) -> str:
    """Get a file from pyftpdlib's server, by ``fastchat run``."""
    data = served(scratch)
    program = scratch / "ftp_server.py"
    program.write_text(FTP_SERVER)
    with running(fastchat.implementation, str(program), scratch, str(data.parent)) as server:
        got: list[bytes] = []
        with ftplib.FTP(timeout=TIMEOUT) as client:
            client.connect("127.0.0.1", server.port)
            client.login()
            client.retrbinary("RETR data", got.append)
        assert b"".join(got) == data.read_bytes()
        server.check()
    return f"{SIZE} bytes"


def served(scratch: Path) -> Path:
    """A new file, alone in its directory."""
    directory = scratch / "served"
    directory.mkdir()
    (directory / "data").write_bytes(random.Random(SIZE).randbytes(SIZE))
    return directory / "data"


def ratio(scratch: Path) -> str:
    """How many times faster the compiled scanner finds ends of lines than its twin in Python."""
    loaded, _ = contenders.implementations()
    searchers = {
        name: contenders.with_find_terminators(loaded[name].scanner.find_terminators)
        for name in (contenders.COMPILED, contenders.PYTHON)
    }
    task = scanning.search_task(scanning.lines(32, b"\r\n", 65536), searchers)
    seconds = scanning.time_task(task, rounds=7, seconds=0.02).seconds
    compiled, twin = (statistics.median(seconds[name]) for name in searchers)
    return f"{twin / compiled:.1f}"


USES = {use.__name__: use for use in (identity, legacy, ftp, ratio)}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fastchat-use-") as scratch:
        print(USES[sys.argv[1]](Path(scratch)))
