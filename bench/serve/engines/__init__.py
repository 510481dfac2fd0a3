"""What is compared: the engines, by name, and the protocols that each of them speaks.

Lines end at CR LF.  A server speaks one of four protocols, its *service*:

* ``echo``: every line is sent back;
* ``ingest``: lines are counted, and only the line ``?`` is answered, with their number;
* ``bodies``: a line with a number, then so many bytes; answered with a line of the number, the
  first eight bytes and the last eight;
* ``downloads``: a line with a number, answered with so many bytes (``pieces.py`` says which).

Rules the engines keep: each is written the way its own documentation teaches, by an author who
does not think of benchmarks; all listen with the same backlog and send without delay
(``TCP_NODELAY``), and none has limits, time-outs or logging that the others have not.

A module of this package is imported only in the process that serves, and only for an engine that
needs it.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from importlib import metadata

BACKLOG = 1024

# Whether this interpreter still has asynchat.
HAS_STDLIB = sys.version_info < (3, 12)

SERVICES = ("echo", "ingest", "bodies", "downloads")


@dataclass(frozen=True)
class Engine:
    """One way to serve lines.

    *name* is what the command line calls it and *label* what tables do; *module* of this package
    serves it; it can do *services*; it has to find the modules it *needs*, and gets *environment*;
    *python* is the interpreter that runs it.  *joins* says whether replies to requests that arrived
    together leave in one send, rather than each in its own; None where nobody has counted.
    """

    name: str
    label: str
    module: str
    services: tuple[str, ...] = SERVICES
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    joins: bool | None = False

    def absence(self) -> str | None:
        """Why this engine cannot run here, or None where it can (the C server may still not)."""
        if self.name == "stdlib" and not HAS_STDLIB:
            return "Python 3.11 was the last with asynchat"
        if self.name == "pyasynchat":
            if HAS_STDLIB:
                return "hidden by the standard library's asynchat"
            try:
                metadata.distribution("pyasynchat")
            except metadata.PackageNotFoundError:
                return "pyasynchat is not installed"
        for module in self.needs:
            try:
                found = importlib.util.find_spec(module) is not None
            except ModuleNotFoundError:  # of the package that the module would be in
                found = False
            if not found:
                return f"{module} is not installed"
        return None


def _fastchat(
    name: str, label: str, implementation: str, *needs: str, coalesce: str = "1"
) -> Engine:
    # Held output is on for programs that import fastchat.asynchat, and off for those that are run
    # on it unawares; those measured here are the same, and so are told.
    environment = {"FASTCHAT_IMPLEMENTATION": implementation, "FASTCHAT_COALESCE": coalesce}
    return Engine(
        name,
        label,
        "async_chat",
        needs=("fastchat", *needs),
        environment=environment,
        joins=coalesce == "1",
    )


def _aio(loop: str, kind: str = "") -> Engine:
    """``fastchat.aio`` on *loop*, with the hook for each line where *kind* is "by-line"."""
    return Engine(
        "-".join(filter(None, [loop, "aio", kind])),
        " ".join(filter(None, [loop, "fastchat.aio", kind.replace("-", " ")])),
        "aio_lines",
        ("echo",) if kind else ("echo", "ingest"),
        ("fastchat._scanner", loop),
        {"FASTCHAT_IMPLEMENTATION": "cython"},
        joins=True,
    )


def _line_channel(name: str, label: str, *services: str) -> Engine:
    environment = {"FASTCHAT_IMPLEMENTATION": "cython"}
    return Engine(
        name, label, "line_channel", services, ("fastchat._scanner",), environment, joins=True
    )


ENGINES = {
    engine.name: engine
    for engine in (
        _fastchat("fastchat", "fastchat, compiled", "cython", "fastchat._scanner"),
        _fastchat(
            "fastchat-unheld",
            "fastchat, compiled, each push sent",
            *("cython", "fastchat._scanner"),
            coalesce="0",
        ),
        _line_channel("linechannel", "LineChannel, a call per read", "echo", "ingest", "bodies"),
        _line_channel("linechannel-by-line", "LineChannel, a call per line", "echo", "ingest"),
        _fastchat("fastchat-python", "fastchat, Python", "python"),
        Engine("stdlib", "stdlib asynchat", "async_chat"),
        Engine("pyasynchat", "pyasynchat", "async_chat"),
        Engine("asyncio-protocol", "asyncio Protocol", "protocol"),
        Engine(
            "asyncio-joined", "asyncio Protocol, replies joined", "protocol", ("echo",), joins=True
        ),
        Engine("asyncio-streams", "asyncio streams", "streams"),
        Engine("uvloop-protocol", "uvloop Protocol", "protocol", needs=("uvloop",)),
        Engine(
            "uvloop-joined",
            "uvloop Protocol, replies joined",
            "protocol",
            ("echo",),
            ("uvloop",),
            joins=True,
        ),
        Engine("uvloop-streams", "uvloop streams", "streams", needs=("uvloop",)),
        Engine("rloop-protocol", "rloop Protocol", "protocol", needs=("rloop",)),
        Engine("zuvloop-protocol", "zuvloop Protocol", "protocol", needs=("zuvloop",), joins=None),
        Engine(
            "aiofastnet-asyncio", "aiofastnet Protocol, asyncio", "protocol", needs=("aiofastnet",)
        ),
        Engine(
            "aiofastnet-uvloop",
            "aiofastnet Protocol, uvloop",
            "protocol",
            needs=("aiofastnet", "uvloop"),
        ),
        Engine(
            "aiofastnet-uvloop-joined",
            "aiofastnet Protocol, uvloop, replies joined",
            "protocol",
            ("echo",),
            ("aiofastnet", "uvloop"),
            joins=True,
        ),
        _aio("asyncio"),
        _aio("asyncio", "by-line"),
        _aio("uvloop"),
        _aio("uvloop", "by-line"),
        Engine("twisted", "Twisted LineReceiver", "twisted_lines", needs=("twisted",), joins=True),
        Engine("gevent", "gevent", "gevent_lines", needs=("gevent",)),
        Engine("hooks", "Python, hooks and no more", "hooks", ("echo", "ingest")),
        Engine("c", "C, epoll and memchr", "", joins=True),
    )
}


def announce(host: str, port: int) -> None:
    """Tell whoever started this process that it can be connected to."""
    print(f"listening on {host}:{port}", flush=True)
